"""Metrics of predictions, and how far two models are apart."""

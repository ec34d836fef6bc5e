"""Prune Once for All: sparse pre-trained language encoders."""

__version__ = "0.1.0"

"""Labelled data: what a task is, its rows, labels, questions and windows."""

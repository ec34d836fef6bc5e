"""Rows from files and data sets, the pre-training corpus, masking, batches, tasks and their metrics."""

"""Data: rows from files and data sets, the pre-training corpus, masking, batches, classification tasks, metrics."""

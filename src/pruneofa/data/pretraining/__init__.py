"""Text for pre-training: building a corpus, masking it."""

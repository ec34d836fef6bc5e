"""Answers for files of texts, by the engine: no label is needed, nor torch."""

"""Saved models: the manifest beside a model folder, the compressed `.pofa` file, and what either holds. No torch."""

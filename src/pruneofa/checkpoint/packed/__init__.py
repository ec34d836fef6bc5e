"""The entropy-coded form of a sparse matrix."""

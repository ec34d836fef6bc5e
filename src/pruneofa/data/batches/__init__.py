"""From examples to batches: padded, packed, shared among processes."""

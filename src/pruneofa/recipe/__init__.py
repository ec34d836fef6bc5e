"""The typed document of a run: reading, overriding, every fault at once; the paper's rows."""

"""The CPU engine: compressed encoders, run by the package's own kernels. Needs numpy and tokenizers, not torch."""

"""One file per stage: what it reads, what it writes, and the call of the parts below."""

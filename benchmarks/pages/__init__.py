"""This repository's own pages: tables and figures of results/, drawn into README.md and docs/."""

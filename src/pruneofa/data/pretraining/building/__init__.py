"""The steps from documents to examples."""

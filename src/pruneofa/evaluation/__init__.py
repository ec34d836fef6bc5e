"""How good embeddings are: similarity, classification and retrieval by MTEB's protocol, on local files."""

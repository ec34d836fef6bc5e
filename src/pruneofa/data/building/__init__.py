"""The steps from text to a corpus: documents, sentences, token ids, examples; each of them over shards."""

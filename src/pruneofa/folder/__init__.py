"""What a model folder says beside its weights: tokenizer, lengths, sentence modules, activation. Read here alone."""

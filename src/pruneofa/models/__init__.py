"""What a model folder means: loading, saving, heads, scoring."""

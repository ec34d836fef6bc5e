"""What a saved model means: opening, loading, saving, heads, prediction, scoring."""

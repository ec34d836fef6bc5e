"""What a run achieved, for people: terminal tables, figures, one HTML page, a model card."""

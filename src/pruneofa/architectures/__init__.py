"""Families of encoders: the one registry of what they are called and built of, and what is found by structure alone."""

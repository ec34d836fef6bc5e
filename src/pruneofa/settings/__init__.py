"""Settings as typed documents: the base of every config, and its faults in words."""

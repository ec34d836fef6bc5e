"""The command line: thin wrappers over functions, which import what they need when they run."""

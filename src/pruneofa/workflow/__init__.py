"""Runs of stages: their list, what is done or stale, checks before a run, records, report."""

"""Which weights go, when, and what keeps them away: schedule, saliency, pattern, budget, pruner, lock."""

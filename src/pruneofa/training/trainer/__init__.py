"""Transformers' Trainer, adapted: checkpoints that survive a kill, several processes, pruner, lock and observers."""

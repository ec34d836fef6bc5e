"""Bytes that a stage's checkpoints take, by formula.

One checkpoint: the weights in float32 (4 bytes for each parameter), AdamW's two moments (8), one bit for each pruned
weight and, until the masks are frozen, the value under each that is pruned now (4); and some small files, of which the
log grows with the run.
"""

from dataclasses import dataclass

from pruneofa.planning.load import StageLoad
from pruneofa.sparsity.schedule import sparsity_at

_SMALL_FILES = 40_000  # settings, random numbers, the schedule's state, the manifest
_LOG_LINE = 450


@dataclass(frozen=True)
class Storage:
    """Bytes on disk of a stage while it runs.

    Attributes:
        model: the weights alone, which is also what is left of it in the end.
        checkpoint: the largest checkpoint.
        kept: how many there are at most, the one that is being written and the best one counted.
    """

    model: int
    checkpoint: int
    kept: int

    @property
    def total(self) -> int:
        """All that lie there at once."""
        return self.kept * self.checkpoint


def checkpoint_bytes(load: StageLoad, step: int) -> int:
    """Bytes of the checkpoint that is written after `step` optimizer steps."""
    size = 12 * load.student.parameters + _SMALL_FILES + _LOG_LINE * (step // load.training.logging_steps)
    if load.sparsity is not None:
        size += load.student.prunable // 8
        if step < load.sparsity.last_update:
            size += 4 * int(sparsity_at(step, load.sparsity) * load.student.prunable)
    return size


def stage_storage(load: StageLoad) -> Storage:
    """The largest checkpoint of a stage, and all that are kept at once."""
    last = load.steps
    steps = {last}
    if load.sparsity is not None:
        steps.add(min(last, load.sparsity.last_update - 1))
    best = load.training.eval_steps is not None
    return Storage(
        model=4 * load.student.parameters,
        checkpoint=max(checkpoint_bytes(load, step) for step in steps),
        kept=load.training.save_total_limit + 1 + best,
    )

"""What stops a run whose numbers are no longer finite, and on which examples it was found."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pruneofa.errors import PruneofaError

logger = logging.getLogger(__name__)

Key = tuple[int, int]
"""Epoch and number of an example in its data set."""

_SHOWN = 20


class TrainingDivergedError(PruneofaError, ArithmeticError):
    """The loss or its gradient is no longer a finite number.

    Attributes:
        step: the optimizer step that was under way, counted from 1.
        examples: numbers of the examples of this process's batch, or of all its batches where it is the gradient;
            empty where the order of examples is not ours.
        documents: running numbers of the corpus's documents in them; None where the data set has none.
        checkpoint: the last sound one, if any.
    """

    def __init__(
        self,
        what: str,
        value: float,
        *,
        step: int,
        examples: Sequence[int],
        documents: Sequence[int] | None,
        checkpoint: Path | None,
    ) -> None:
        self.step = step
        self.examples = list(examples)
        self.documents = None if documents is None else list(documents)
        self.checkpoint = checkpoint
        where = f" on {_listed(self.examples, self.documents)}" if examples else ""
        super().__init__(
            f"step {step}: the {what} is {value}{where}; "
            + (
                "no checkpoint was written before. "
                if checkpoint is None
                else f"the last sound checkpoint is {checkpoint}. "
            )
            + f"{'Look at them, lower' if where else 'Lower'} learning_rate or raise warmup_ratio, and start anew"
        )


def diverged(
    what: str, value: float, *, step: int, keys: Sequence[Key], dataset: Any, checkpoint: Path | None
) -> TrainingDivergedError:
    """The error to raise; the whole list of documents or examples goes to the log where the message cuts it.

    Args:
        what: which number is not finite.
        value: it.
        step: optimizer steps completed before.
        keys: of the examples that were under way.
        dataset: where they are from; `documents(index)` tells what of the corpus is in an example.
        checkpoint: the last sound one, if any.
    """
    examples = [index for _, index in keys]
    tell = getattr(dataset, "documents", None)
    # None, too, where a corpus doesn't say what is in its examples.
    documents = sorted({int(number) for index in examples for number in tell(index)}) or None if tell else None
    whole = examples if documents is None else documents
    if len(whole) > _SHOWN:
        kind = "examples" if documents is None else "documents"
        logger.error("step %d, not finite: all %s of it: %s", step + 1, kind, ", ".join(map(str, whole)))
    return TrainingDivergedError(
        what, value, step=step + 1, examples=examples, documents=documents, checkpoint=checkpoint
    )


def keys_of_step(loader: Any, step: int, accumulation: int) -> list[list[Key]]:
    """The keys of every batch of an optimizer step, found again from the order of the batch sampler.

    Nothing travels with the batches: the sampler yields the same order whenever it is asked (see `EpochBatchSampler`).

    Args:
        loader: the process's own, whose `batch_sampler` is at the step's epoch.
        step: optimizer steps completed before.
        accumulation: batches for one step; the last step of an epoch may have fewer.
    """
    steps_per_epoch = -(-len(loader) // accumulation)
    first = step % steps_per_epoch * accumulation
    return [list(batch) for batch in itertools.islice(loader.batch_sampler, first, first + accumulation)]


def _listed(examples: Sequence[int], documents: Sequence[int] | None) -> str:
    numbers = examples if documents is None else documents
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    kind = "example" if documents is None else "document"
    return f"{kind}{'s' if len(numbers) != 1 else ''} {shown}{more}"

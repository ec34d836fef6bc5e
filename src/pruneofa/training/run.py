"""What a training is told besides its settings: the examples, and where and from what it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.stage_folder import CHECKPOINTS_FOLDER, STATE_FOLDER

__all__ = ["Examples", "TrainingRun"]


@dataclass(frozen=True)
class Examples:
    """What a model is trained and evaluated on.

    Attributes:
        train: examples by `(epoch, index)`, with `lengths`.
        pad_token_id: fills shorter examples of a batch.
        evaluation: examples for `eval_steps` and for the end, if any.
        compute_metrics: of the predictions on `evaluation`; without it the loss alone is evaluated.
    """

    train: Any
    pad_token_id: int
    evaluation: Any = None
    compute_metrics: Callable[[Any], dict[str, float]] | None = None


@dataclass(frozen=True)
class TrainingRun:
    """Name, place and seed of one training.

    Attributes:
        label: name of the stage, for messages and progress.
        checkpoint_dir: where checkpoints go; the latest sound one in it is continued from.
        seed: order of examples, dropout.
        resume_from: a checkpoint to continue from instead.
    """

    label: str
    checkpoint_dir: Path
    seed: int
    resume_from: str | Path | None = None

    @classmethod
    def of_stage(cls, stage: str, output_dir: Path, seed: int, resume_from: str | None) -> "TrainingRun":
        """The run of a stage that leaves its model in `output_dir`."""
        return cls(stage, output_dir / STATE_FOLDER / CHECKPOINTS_FOLDER, seed, resume_from)

"""Experiment trackers of transformers' Trainer: checked before a run starts, their files kept beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pruneofa.errors import ConfigurationError

TENSORBOARD_FOLDER = "tensorboard"


def check_trackers(names: Sequence[str]) -> None:
    """Check that transformers knows every tracker of `report_to` and that its package is installed.

    Raises:
        ConfigurationError: it doesn't, or it isn't.
    """
    if not names:
        return
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if unknown := [name for name in names if name not in INTEGRATION_TO_CALLBACK]:
        raise ConfigurationError(
            f"report_to: {', '.join(map(repr, unknown))} is no tracker that transformers knows; allowed: "
            f"{', '.join(INTEGRATION_TO_CALLBACK)}"
        )
    installed = get_available_reporting_integrations()
    if missing := [name for name in names if name not in installed]:
        raise ConfigurationError(
            f"report_to: {', '.join(map(repr, missing))} needs a package that is not installed; try: pip install "
            f"{' '.join(missing)}, or leave it out"
        )


def keep_tensorboard_files(trainer: Any, folder: Path) -> None:
    """Have TensorBoard's files written into `folder`, unless TENSORBOARD_LOGGING_DIR says where.

    The library puts them among the checkpoints, which go when a stage is finished.
    """
    from transformers.integrations import TensorBoardCallback

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)

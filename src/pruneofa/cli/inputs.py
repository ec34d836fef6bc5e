"""Names of files and folders on the command line, looked at before torch and its kin are imported (seconds)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pruneofa.errors import CheckpointError

__all__ = ["check_folder", "check_model", "check_recipe", "check_source"]


def check_model(name: str | None) -> None:
    """See that a model is there: a folder, a file, or a name that the hub may have.

    Raises:
        CheckpointError, DataError: It is not.
    """
    from pruneofa.data.sources.packaged import resolve_model

    if name is not None and not Path(name).exists():  # what is there is for its reader to judge
        resolve_model(name)


def check_source(source: str | list[str] | None) -> None:
    """See that the files of a source are there; what they hold is read later.

    Raises:
        DataError: One is not.
    """
    from pruneofa.data.sources.reading import read_rows

    if source is not None:
        read_rows(source)


def check_folder(path: Path | str | None, what: str) -> None:
    """See that a folder is there.

    Args:
        path: It; None is nothing to look at.
        what: What it should be, such as "the folder of a run".

    Raises:
        CheckpointError: It is not.
    """
    if path is not None and not Path(path).is_dir():
        raise CheckpointError(f"{path}: no such folder; give {what}")


def check_recipe(recipe: Any, sections: Iterable[str]) -> None:
    """See that the files are there that a recipe's sections name.

    Args:
        recipe: The loaded recipe.
        sections: Those that are used; "model", "corpus", "quantize" and "task" name files.

    Raises:
        CheckpointError, DataError: One is not.
    """
    if "model" in sections:
        check_model(recipe.model.name_or_path)
    if "corpus" in sections and recipe.corpus is not None:
        check_source(recipe.corpus.source)
    if "quantize" in sections and recipe.quantize is not None:
        check_source(recipe.quantize.calibration.source)
    if "task" in sections and (task := recipe.task) is not None:
        for source in (task.train, task.evaluation, *task.also_evaluate.values()):
            check_source(source)

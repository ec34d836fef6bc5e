"""Stage `compress`: the small files of a run's sparse models, checked to give the models back bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.errors import CheckpointError
from pruneofa.models.folder_compression import compress_model
from pruneofa.models.names import MODEL_NAMES
from pruneofa.recipe.document import Recipe

SHOWN = ("encoder_sparsity", "encoder_parameters", "bytes_encoder", "bytes_total", "nominal_ratio", "real_ratio")


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Compress every sparse task model of the run; the dense one is only measured."""
    results = {}
    for artefact, name in MODEL_NAMES.items():
        if artefact not in inputs:
            continue
        path = inputs[artefact]
        if artefact != "task_teacher":
            path = str(output_dir / f"{artefact}.pofa")
            compress_model(inputs[artefact], path, form=recipe.compress.form)
            _check_gives_back(Path(inputs[artefact]), Path(path))
        results[name] = {**_sizes(path), "file": Path(path).name}
    return results


def _check_gives_back(folder: Path, file: Path) -> None:
    """Read the file as strictly as any reader, and compare every byte that comes back with the folder's."""
    for name, pieces in read_pofa(file).original_files():
        with (folder / name).open("rb") as original:
            same = all(original.read(len(piece)) == piece for piece in pieces) and not original.read(1)
        if not same:
            raise CheckpointError(f"{file}: {name} does not come back as it was; keep {folder} and report this")


def _sizes(path: str) -> dict[str, Any]:
    inspection = inspect_model(path).as_dict()
    return {key: inspection[key] for key in SHOWN}

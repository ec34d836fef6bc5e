"""The model card of a folder, from what the folder and its run tell."""

from collections.abc import Sequence
from pathlib import Path

from pruneofa.checkpoint.inspection import Inspection, inspect_model
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.models.folder_compression import weight_names
from pruneofa.models.loading import load_config
from pruneofa.models.opened import open_model
from pruneofa.reporting.card import CardFiles, CardTask, model_card
from pruneofa.reporting.data import ModelRow

__all__ = ["card_files", "card_task", "folder_card", "inspect_folder"]

_HEADS = ("ForSequenceClassification", "ForQuestionAnswering", "ForMaskedLM", "ForTokenClassification")


def folder_card(model_dir: Path, name: str | None = None) -> str:
    """The card of a model folder that no run's report tells of: sparsity and bytes, no metrics.

    Args:
        model_dir: the folder.
        name: what to call the model; by default the folder's name.

    Raises:
        CheckpointError: the folder holds no intact model.
    """
    inspection = inspect_folder(model_dir)
    manifest = read_manifest(model_dir)
    extra = {} if manifest is None else manifest.extra
    row = ModelRow(
        name=name or model_dir.resolve().name,
        metrics={},
        encoder_sparsity=inspection.encoder_sparsity,
        encoder_parameters=inspection.encoder_parameters,
        bytes_encoder=inspection.bytes_encoder,
        bytes_total=inspection.bytes_total,
        nominal_ratio=inspection.nominal_ratio,
        real_ratio=inspection.real_ratio,
        file="the weights in this folder",
    )
    base = str(extra.get("base_model") or getattr(load_config(str(model_dir)), "_name_or_path", "") or "an encoder")
    recipe = extra.get("recipe")
    return model_card(row, base_model=base, files=card_files(model_dir), recipe=None if recipe is None else str(recipe))


def card_files(model_dir: Path, folder: str = ".", beside: Sequence[Path] = ()) -> CardFiles:
    """What a card says of where its model is.

    Args:
        model_dir: the model folder.
        folder: the same, seen from the card.
        beside: files beside the card, where that is not in the model folder.
    """
    names = sorted(path.name for path in (beside or model_dir.iterdir()))
    opened = open_model(str(model_dir))
    architectures = getattr(opened.config(), "architectures", None) or [""]
    head = next((ending for ending in _HEADS if str(architectures[0]).endswith(ending)), "")
    return CardFiles(
        folder=folder,
        compressed=next((name for name in names if name.endswith(".pofa")), None),
        onnx=next((name for name in names if name.endswith(".onnx")), None),
        auto_class=f"AutoModel{head}",
        int8=opened.quantization() is not None,
    )


def card_task(task_name: str, source: str | list[str] | None, text: str) -> CardTask:
    """What a card says of the task: of a source `hub:NAME:SPLIT` the data set and split too."""
    first = source[0] if isinstance(source, list) and source else source
    if isinstance(first, str) and first.startswith("hub:"):
        name, _, split = first.removeprefix("hub:").partition(":")
        # NAME[/CONFIG], and most names are OWNER/NAME.
        return CardTask(task_name, text, dataset="/".join(name.split("/")[:2]), split=split or "train")
    return CardTask(task_name, text)


def inspect_folder(model_dir: Path) -> Inspection:
    """Sparsity and bytes of a model folder, whichever tool saved it.

    Raises:
        CheckpointError: the folder holds no intact model.
    """
    if read_manifest(model_dir) is not None:
        return inspect_model(model_dir)
    encoder, pooler = weight_names(str(model_dir))
    return inspect_model(model_dir, encoder, pooler)

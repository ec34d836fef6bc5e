"""The files by which sentence-transformers knows how token states become one vector, carried from model to model."""

import json
from pathlib import Path

from pruneofa.checkpoint.encoder_place import MODULES_NAME, checked_place
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError
from pruneofa.folder.files import MAX_JSON_BYTES
from pruneofa.folder.sentence_modules import SentenceModules, read_sentence_modules
from pruneofa.models.opened import OpenedModel

__all__ = ["carry_sentence_files", "sentence_modules"]

_BESIDE = (
    "config_sentence_transformers.json",
    *(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "xlm-roberta")),
)
_OF_A_MODULE = ("config.json", "model.safetensors")


def sentence_modules(opened: OpenedModel) -> SentenceModules | None:
    """What a model's modules.json says; None where it has none.

    Raises:
        CheckpointError: as `read_sentence_modules`.
    """
    return read_sentence_modules(opened)


def carry_sentence_files(opened: OpenedModel, output_dir: Path) -> list[str]:
    """Copy a model's modules.json, and the files that it stands for, into another model's folder.

    Returns:
        Names of what was written; none where the model has no modules.json.

    Raises:
        CheckpointError: modules.json is damaged, or names a place outside the folder.
    """
    content = opened.file(MODULES_NAME)
    if content is None:
        return []
    where = f"{opened.name}: {MODULES_NAME}"
    modules = parse_json(content, where, MAX_JSON_BYTES)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{where}: holds no list of modules; save the model with sentence-transformers again")
    files = {MODULES_NAME: content}
    if modules and modules[0].get("path"):  # the encoder, which the new folder holds itself
        modules[0]["path"] = ""
        files[MODULES_NAME] = json.dumps(modules, indent=2).encode()
    names = list(_BESIDE)
    for path in [module.get("path") for module in modules]:
        if path:
            names += [f"{checked_place(str(path), opened.name)}/{name}" for name in _OF_A_MODULE]
    for name in names:
        if (content := opened.file(name)) is not None:
            files[name] = content
    for name, content in files.items():
        target = output_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return list(files)

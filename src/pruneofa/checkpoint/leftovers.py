"""Files that lie beside a model and are no part of it: the same weights for other frameworks, and what training left.

A clone of a hub's repository or a training's folder holds several times the model's bytes in such files. They are left
out of compressed files and uploads, and named.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

__all__ = ["leftovers"]

_FOLDERS = re.compile(
    r"onnx|openvino|coreml|tflite|tensorflow|saved_model|runs|wandb|mlruns|checkpoint-\d+|global_step\d+", re.IGNORECASE
)
_FILES = re.compile(
    r"""pytorch_model.*\.bin(\.index\.json)? | training_args\.bin | tf_model.*\.h5(\.index\.json)?
    | flax_model.*\.msgpack(\.index\.json)? | rust_model\.ot | model.*\.(h5|msgpack|ot|bin)
    | .*\.(onnx|onnx_data|onnx\.data|tflite|mlmodel|gguf|ggml|ckpt|pdparams|pt|pth)
    | .*\.ckpt\.(index|meta|data-.*) | trainer_state\.json | events\.out\.tfevents\..*""",
    re.IGNORECASE | re.VERBOSE,
)
_KEPT_SAFETENSORS = ("quantization.safetensors", "adapter_model.safetensors")


def leftovers(names: Iterable[str], weight_files: Collection[str], inner: str = "") -> list[str]:
    """Which of a model folder's files are no part of the model.

    Files of subfolders that modules.json may name, such as `2_Dense/`, are never among them.

    Args:
        names: Files of the folder, by their names in it.
        weight_files: Those that hold the model's weights.
        inner: Where in the folder the encoder lies.
    """
    return [name for name in names if name not in weight_files and _is_leftover(name, inner)]


def _is_leftover(name: str, inner: str) -> bool:
    parts = PurePosixPath(name.removeprefix(inner)).parts
    if len(parts) > 1:
        return _FOLDERS.fullmatch(parts[0]) is not None
    if parts[0].endswith(".safetensors"):
        return parts[0] not in _KEPT_SAFETENSORS
    return _FILES.fullmatch(parts[0]) is not None

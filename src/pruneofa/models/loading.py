"""Load models and tokenizers with clear errors, and save them with what is known of their sparsity."""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.model_folder import QUANTIZATION_NAME
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.errors import CheckpointError, first_line

logger = logging.getLogger(__name__)


def load_tokenizer(name_or_path: str) -> Any:
    """The fast tokenizer of a model.

    Raises:
        CheckpointError: there is none.
    """
    from transformers import AutoTokenizer

    path = resolve_model(name_or_path)
    try:
        return AutoTokenizer.from_pretrained(path, use_fast=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"model {name_or_path!r}: its tokenizer can't be loaded: {first_line(error)}; give a folder with an "
            "intact tokenizer.json"
        ) from error


def load_config(name_or_path: str) -> Any:
    """The config of a model.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    from transformers import AutoConfig

    path = resolve_model(name_or_path)
    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"model {name_or_path!r}: its config.json can't be read: {first_line(error)}") from error


def model_class(config: Any) -> Any:
    """The class of transformers that a saved model is of, by its config; the bare encoder where it names none."""
    import transformers

    name = (getattr(config, "architectures", None) or [""])[0]
    found = getattr(transformers, str(name), None)
    known = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if known else transformers.AutoModel


def load_model(auto_class: Any, name_or_path: str, *, head_is_trained: bool = False, **settings: Any) -> Any:
    """A model through `auto_class.from_pretrained`, in float32; of an int8 model's folder with its sparse pattern.

    Args:
        auto_class: one of transformers' Auto classes.
        name_or_path: folder, hub name, or package reference.
        head_is_trained: every weight must come from the files; otherwise a head may start at random.
        **settings: entries of the model's config, such as `num_labels`.

    Raises:
        CheckpointError: the model is missing, truncated or damaged, or lacks weights that it must have.
    """
    path = resolve_model(name_or_path)
    try:
        model, report = auto_class.from_pretrained(path, dtype=torch.float32, output_loading_info=True, **settings)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"model {name_or_path!r} can't be loaded: {first_line(error)}; give a folder with config.json and an "
            "intact model.safetensors"
        ) from error
    _refuse_random_weights(model, name_or_path, set(report["missing_keys"]), head_is_trained)
    if (Path(path) / QUANTIZATION_NAME).is_file():
        from pruneofa.quantization.state import restore_pattern

        restore_pattern(model, path)
    return model


def _refuse_random_weights(model: Any, name_or_path: str, missing: set[str], head_is_trained: bool) -> None:
    """The library fills in what a file lacks with random numbers; that must not pass for a trained model."""
    encoder = [name for name in encoder_linears(model) if f"{name}.weight" in missing]
    if encoder:
        raise CheckpointError(
            f"model {name_or_path!r} lacks {len(encoder)} weights of its encoder, {encoder[0]}.weight among them; "
            "its config.json is of another model than its weights, or a file is incomplete: save or fetch it again"
        )
    if head_is_trained and missing:
        raise CheckpointError(
            f"model {name_or_path!r} has no trained {type(model).__name__} head ({', '.join(sorted(missing)[:3])} "
            "missing), so its answers would be random; give a model that was trained for this"
        )


def load_any(auto_class: Any, path: str, *, head_is_trained: bool = False) -> Any:
    """A float model, or an int8 one in its fake-quantized form, by what its folder holds.

    Args:
        auto_class: one of transformers' Auto classes, or a model class of it.
        path: folder or name.
        head_is_trained: as of `load_model`.

    Raises:
        CheckpointError: as `load_model`.
    """
    from pruneofa.quantization.state import is_quantized, load_quantized

    if is_quantized(path):
        return load_quantized(path, auto_class)
    return load_model(auto_class, path, head_is_trained=head_is_trained)

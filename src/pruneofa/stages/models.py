"""Load models and tokenizers with clear errors, and save them with what is known of their sparsity."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pruneofa.architectures import encoder_linears, pooler_linears
from pruneofa.atomic import write_json
from pruneofa.checkpoint.manifest import Manifest, read_manifest, write_manifest
from pruneofa.checkpoint.model_folder import QUANTIZATION_NAME
from pruneofa.data.packaged import resolve_model
from pruneofa.errors import CheckpointError
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.ranks import on_first
from pruneofa.stages.record import STATE_FOLDER

logger = logging.getLogger(__name__)

TRAINING_LOG_NAME = "training_log.json"


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
            f"model {name_or_path!r}: its tokenizer can't be loaded: {_first_line(error)}; give a folder with an "
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
        raise CheckpointError(f"model {name_or_path!r}: its config.json can't be read: {_first_line(error)}") from error


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
            f"model {name_or_path!r} can't be loaded: {_first_line(error)}; give a folder with config.json and an "
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


def longest_sequence(model_or_config: Any) -> int | None:
    """The longest sequence that a model takes, in tokens; None where its config does not say.

    RoBERTa-like models (MPNet too) number positions from the padding token's id on, which costs them two.
    """
    config = getattr(model_or_config, "config", model_or_config)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    offset = 2 if config.model_type in ("roberta", "mpnet", "xlm-roberta", "camembert") else 0
    return int(positions) - offset


def save_model(
    model: Any,
    tokenizer: Any,
    output_dir: Path,
    *,
    stage: str,
    targets: Mapping[str, float] | None = None,
    quantized: QuantizedState | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save for plain `from_pretrained`, with `pruneofa.json` beside it; of several processes the first does.

    Args:
        model: a plain model of transformers (after `convert`, where it was quantized).
        tokenizer: saved beside it, if given.
        output_dir: the stage's folder.
        stage: name of the stage.
        targets: sparsity asked for, by module name.
        quantized: scales and zero-points of an int8 model.
        extra: further facts: base model, recipe.
    """
    on_first(lambda: _write_model(model, tokenizer, output_dir, stage, targets or {}, quantized, extra or {}))


def _write_model(
    model: Any,
    tokenizer: Any,
    output_dir: Path,
    stage: str,
    targets: Mapping[str, float],
    quantized: QuantizedState | None,
    extra: Mapping[str, Any],
) -> None:
    from pruneofa.quantization.state import save_quantization

    try:
        # Under the names that weights have in memory, which the manifest lists too. The library would write those of
        # the file that the model was loaded from, such as BERT's old LayerNorm.gamma.
        model.save_pretrained(output_dir, save_original_format=False)
    except SafetensorError as error:
        raise CheckpointError(
            f"{output_dir}: the model can't be written: {_first_line(error)}; free some space and run the "
            "same command again"
        ) from error
    if tokenizer is not None:
        tokenizer.save_pretrained(output_dir)
    quantization = None
    if quantized is not None:
        save_quantization(quantized, output_dir)
        scheme = quantized.config.model_dump(mode="json")
        activation = {"bits": 8, "quantize_outputs": scheme.pop("quantize_outputs")}
        quantization = {"bits": 8, "activation": activation, **scheme}
    encoder, pooler = encoder_linears(model), pooler_linears(model)
    sparsity = {
        f"{name}.weight": {
            "size": linear.weight.numel(),
            "zeros": int((linear.weight == 0).sum()) - _kept_zeros(name, quantized),
            "target": targets.get(name),
        }
        for name, linear in {**encoder, **pooler}.items()
    }
    manifest = Manifest(
        format_version=1,
        stage=stage,
        encoder_weights=tuple(f"{name}.weight" for name in encoder),
        pooler_weights=tuple(f"{name}.weight" for name in pooler),
        sparsity=sparsity,
        quantization=quantization,
        extra=dict(extra),
    )
    write_manifest(output_dir, manifest)


def _kept_zeros(name: str, quantized: QuantizedState | None) -> int:
    """How many weights of a module are zero only because they were rounded; the pattern keeps them."""
    parameters = None if quantized is None else quantized.modules.get(name)
    kept = None if parameters is None else parameters.weight_kept_zeros
    return 0 if kept is None else kept.numel()


def manifest_extra(path: str) -> dict[str, Any]:
    """The further facts that the model at `path` carries, if it was saved by a stage."""
    manifest = read_manifest(path) if Path(path).is_dir() else None
    return dict(manifest.extra) if manifest is not None else {}


def save_log(log: list[dict[str, Any]], output_dir: Path) -> None:
    """Keep a training log beside the model; of several processes the first does."""
    on_first(lambda: write_json(output_dir / STATE_FOLDER / TRAINING_LOG_NAME, log))


def load_log(output_dir: Path) -> list[dict[str, Any]]:
    """The training log of a stage's folder; empty where it has none."""
    path = output_dir / STATE_FOLDER / TRAINING_LOG_NAME
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

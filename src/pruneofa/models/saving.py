"""Save a model for plain `from_pretrained`, with what is known of its sparsity beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pruneofa.architectures.linears import adapters, encoder_linears, pooler_linears
from pruneofa.atomic import follow_umask
from pruneofa.checkpoint.manifest import Manifest, write_manifest
from pruneofa.errors import CheckpointError, ConfigurationError, first_line
from pruneofa.models.opened import open_model
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.ranks import on_first
from pruneofa.sparsity.masks import unwrap
from pruneofa.sparsity.ownership import zeros_mended

__all__ = ["manifest_extra", "save_model"]


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

    Zeros that a pruner or a lock of the model promises, and that something has overwritten, are put back first.

    Args:
        model: a model of transformers, wrapped or not (after `convert`, where it was quantized).
        tokenizer: saved beside it, if given.
        output_dir: the stage's folder.
        stage: name of the stage.
        targets: sparsity asked for, by module name.
        quantized: scales and zero-points of an int8 model.
        extra: further facts: base model, recipe.
    """
    _refuse_adapters(model)
    plain = unwrap(model)
    with zeros_mended(plain, "saving"):
        on_first(lambda: _write_model(plain, tokenizer, output_dir, stage, targets or {}, quantized, extra or {}))


def _refuse_adapters(model: Any) -> None:
    """`save_pretrained` of a model with adapters writes these alone, or weights under names that nothing reads."""
    if found := sorted(adapters(model)):
        raise ConfigurationError(
            f"the model has adapters that are not merged ({found[0]} among them); call merge_and_unload() and save "
            "what it returns. Zeros of its pruner or lock are put back then, which takes from what the adapters learned"
        )


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
            f"{output_dir}: the model can't be written: {first_line(error)}; free some space and run the "
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
    follow_umask(output_dir)  # safetensors writes files for their owner alone


def _kept_zeros(name: str, quantized: QuantizedState | None) -> int:
    """How many weights of a module are zero only because they were rounded; the pattern keeps them."""
    parameters = None if quantized is None else quantized.modules.get(name)
    kept = None if parameters is None else parameters.weight_kept_zeros
    return 0 if kept is None else kept.numel()


def manifest_extra(path: str) -> dict[str, Any]:
    """The further facts that the model at `path` carries, if it was saved by a stage."""
    manifest = open_model(path).manifest() if Path(path).exists() else None
    return dict(manifest.extra) if manifest is not None else {}

"""Commands on model files: compress, decompress, inspect."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("compress", epilog="Example: pruneofa compress runs/demo/quantize model.pofa")(compress)
    app.command("decompress", epilog="Example: pruneofa decompress model.pofa my-model")(decompress)
    app.command("inspect", epilog="Example: pruneofa inspect model.pofa --json")(inspect)


def compress(
    model_dir: Annotated[Path, typer.Argument(help="Model folder: config.json, model.safetensors, tokenizer.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.pofa", help="File to write.")],
    form: Annotated[
        str, typer.Option("--form", help="How pruned weights are stored: bitmask (fast to load) or packed (smallest).")
    ] = "bitmask",
    int8: Annotated[
        bool, typer.Option("--int8", help="Round the weights of a float model to int8, one scale per row (lossy).")
    ] = False,
) -> None:
    """Write a sparse model's small file; everything in the folder comes back from it bit for bit."""
    from pruneofa.checkpoint.inspection import inspect_model
    from pruneofa.reporting.units import format_bytes, format_ratio
    from pruneofa.stages.compress import compress_model

    summary = compress_model(str(model_dir), str(output), form=form, int8=int8)
    facts = inspect_model(output).as_dict()
    typer.echo(
        f"{output}: {format_bytes(summary.bytes_written)}, weights were {format_bytes(summary.bytes_weights)}; "
        f"encoder {format_bytes(facts['bytes_encoder'])}, {format_ratio(facts['real_ratio'])} smaller than float32 "
        f"(nominal {format_ratio(facts['nominal_ratio'])})"
    )


def decompress(
    path: Annotated[Path, typer.Argument(metavar="IN.pofa", help="Compressed file.")],
    model_dir: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
) -> None:
    """Give a compressed file's model folder back, bit for bit."""
    from pruneofa.checkpoint.decompress import decompress as write_folder

    typer.echo(str(write_folder(path, model_dir)))


def inspect(
    model: Annotated[str, typer.Argument(help="Compressed file or model folder.")],
    as_json: Json = False,
) -> None:
    """Sparsity per tensor, bytes, nominal and real ratio."""
    from pruneofa.cli.output import print_inspection, print_json

    inspection = _inspection(model)
    if as_json:
        print_json(inspection)
    else:
        print_inspection(inspection)


def _inspection(model: str) -> dict[str, Any]:
    from pruneofa.checkpoint.inspection import inspect_model
    from pruneofa.checkpoint.manifest import read_manifest
    from pruneofa.errors import CheckpointError

    path = Path(model)
    if not path.exists():
        raise CheckpointError(f"{model!r} does not exist; give a .pofa file or a model folder")
    if path.is_dir() and read_manifest(path) is None:
        from pruneofa.stages.compress import weight_names

        encoder, pooler = weight_names(model)
        return dict(inspect_model(path, encoder, pooler).as_dict())
    return dict(inspect_model(path).as_dict())

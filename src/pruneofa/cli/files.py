"""Commands on model files: compress, decompress, export, inspect, push_to_hub."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pruneofa.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("compress", epilog="Example: pruneofa compress runs/demo/quantize model.pofa")(compress)
    app.command("decompress", epilog="Example: pruneofa decompress model.pofa my-model")(decompress)
    app.command("export", epilog="Example: pruneofa export runs/demo/quantize model.onnx")(export)
    app.command("inspect", epilog="Example: pruneofa inspect model.pofa --json")(inspect)
    app.command("push_to_hub", epilog="Example: pruneofa push_to_hub runs/demo user/my-model --dry_run")(push_to_hub)


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
    from pruneofa.cli.progress import progress
    from pruneofa.models.folder_compression import compress_model
    from pruneofa.reporting.units import format_bytes, format_ratio

    with progress(output.name) as report:
        summary = compress_model(str(model_dir), str(output), form=form, int8=int8, progress=report)
    facts = inspect_model(output).as_dict()
    typer.echo(
        f"{output}: {format_bytes(summary.bytes_written)}, weights were {format_bytes(summary.bytes_weights)}; "
        f"encoder {format_bytes(facts['bytes_encoder'])}, {_against_float32(facts['real_ratio'])} "
        f"(nominal ratio {format_ratio(facts['nominal_ratio'])})"
    )
    _name_left_out(summary.left_out)


def _against_float32(ratio: float | None) -> str:
    """How large an encoder is beside its dense float32 weights, by their bytes over its own."""
    from pruneofa.reporting.units import format_ratio

    if ratio is None or ratio >= 1.05:
        return f"{format_ratio(ratio)} smaller than float32"
    if ratio > 0.95:
        return "as large as float32: the model is not sparse"
    return f"{format_ratio(1 / ratio)} larger than float32: the model is not sparse"


def decompress(
    path: Annotated[Path, typer.Argument(metavar="IN.pofa", help="Compressed file.")],
    model_dir: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
) -> None:
    """Give a compressed file's model folder back, bit for bit."""
    from pruneofa.checkpoint.decompress import decompress as write_folder
    from pruneofa.cli.progress import progress

    with progress(path.name) as report:
        folder = write_folder(path, model_dir, progress=report)
    typer.echo(str(folder))


def export(
    model: Annotated[str, typer.Argument(help="Model folder, hub name, or compressed file.")],
    output: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="File to write.")],
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            help="Give one vector for each text instead of the head's answers: mean, cls, max ...; none: the tokens' "
            "states (default: as modules.json says, else none).",
        ),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize", help="Scale that vector to length 1 (default: as modules.json says)."
        ),
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option("--verify/--no-verify", help="Compare with PyTorch first (default: if onnxruntime is installed)."),
    ] = None,
) -> None:
    """Write a model as one ONNX file; an int8 one with QuantizeLinear and DequantizeLinear around its int8 weights."""
    from pruneofa.cli.inputs import check_model
    from pruneofa.cli.output import quiet_libraries

    check_model(model)
    from pruneofa.export.export_model import export_model
    from pruneofa.reporting.units import format_bytes

    quiet_libraries()
    summary = export_model(model, output, pooling=pooling, normalize=normalize, verify=verify)
    typer.echo(
        f"{output}: {format_bytes(summary.bytes_written)}, {'int8' if summary.int8 else 'float'}; "
        f"{', '.join(summary.inputs)} -> {', '.join(summary.outputs)}"
    )
    if (parity := summary.parity) is not None:
        typer.echo(
            f"ONNX Runtime against PyTorch: max error {parity.max_error:.2g}, values up to {parity.largest:.2g}, "
            f"{parity.batches} batches of 1 to {parity.longest} tokens"
        )
    for need in summary.needs:
        typer.echo(f"note: {need}")


def inspect(
    model: Annotated[str, typer.Argument(help="Compressed file, model folder, or ONNX file.")],
    as_json: Json = False,
) -> None:
    """Sparsity per tensor, bytes, nominal and real ratio."""
    from pruneofa.cli.output import print_inspection, print_json

    inspection = _inspection(model)
    if as_json:
        print_json(inspection)
    else:
        print_inspection(inspection)


def push_to_hub(
    model_dir: Annotated[Path, typer.Argument(help="Model folder, or folder of a run (its last model goes).")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Repository of the Hugging Face hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    add_file: Annotated[
        list[Path] | None, typer.Option("--add_file", help="A further file, such as model.onnx; repeatable.")
    ] = None,
    commit_message: Annotated[str | None, typer.Option("--commit_message", help="Of the one commit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Only list what would be uploaded.")] = False,
) -> None:
    """Upload a model with its card to the Hugging Face hub; the token is that of `hf auth login` or HF_TOKEN."""
    from pruneofa.cli.inputs import check_folder

    check_folder(model_dir, "the folder of a model or of a run")
    from pruneofa.reporting.units import format_bytes
    from pruneofa.workflow.hub import push_to_hub as push

    given = {} if commit_message is None else {"commit_message": commit_message}
    summary = push(model_dir, repo, private=private, files=add_file or (), dry_run=dry_run, **given)
    for name, size in summary.files.items():
        typer.echo(f"{name:<40} {format_bytes(size):>10}")
    _name_left_out(summary.left_out)
    total = format_bytes(sum(summary.files.values()))
    if summary.url is None:
        typer.echo(f"{len(summary.files)} files, {total}; nothing was uploaded")
    else:
        typer.echo(f"{summary.url}: {len(summary.files)} files, {total}")


def _name_left_out(files: dict[str, int]) -> None:
    """Say which files of a folder are no part of its model, largest first."""
    from pruneofa.reporting.units import format_bytes

    for name, size in sorted(files.items(), key=lambda item: -item[1]):
        typer.echo(f"left out, no part of the model: {name} ({format_bytes(size)})")


def _inspection(model: str) -> dict[str, Any]:
    from pruneofa.checkpoint.inspection import inspect_model
    from pruneofa.checkpoint.manifest import read_manifest
    from pruneofa.errors import CheckpointError

    path = Path(model)
    if not path.exists():
        raise CheckpointError(f"{model!r} does not exist; give a .pofa file, a model folder or an ONNX file")
    if path.suffix == ".onnx":
        from pruneofa.export.inspection import inspect_onnx

        return dict(inspect_onnx(path).as_dict())
    if path.is_dir() and read_manifest(path) is None:
        from pruneofa.models.folder_compression import weight_names

        encoder, pooler = weight_names(model)
        return dict(inspect_model(path, encoder, pooler).as_dict())
    return dict(inspect_model(path).as_dict())

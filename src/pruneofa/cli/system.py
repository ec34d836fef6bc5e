"""Commands about the machine: doctor."""

import typer

from pruneofa.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("doctor", epilog="Example: pruneofa doctor --json")(doctor)


def doctor(as_json: Json = False) -> None:
    """What this machine offers: processor, memory, the engine's kernels, libraries, device, precision."""
    from pruneofa import __version__, machine

    facts = {"pruneofa": __version__, **machine.describe(), **_engine_facts(), **_torch_facts()}
    if as_json:
        from pruneofa.cli.output import print_json

        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {value}")


def _engine_facts() -> dict[str, str]:
    """Which kernels the engine uses here; a missing engine or an unknown name is told, not raised."""
    from pruneofa.engine.native import active_kernel, kernel_names
    from pruneofa.errors import PruneofaError

    try:
        return {"active kernel": active_kernel(), "supported kernels": ", ".join(kernel_names())}
    except PruneofaError as error:
        return {"active kernel": f"none: {error}"}


def _torch_facts() -> dict[str, str]:
    from pruneofa import machine

    facts = machine.package_versions()
    if "torch" not in facts:
        return {**facts, "torch": "missing; training needs: pip install 'pruneofa[train]'"}
    import torch

    facts["threads"] = str(torch.get_num_threads())
    if torch.cuda.is_available():
        facts["device"] = torch.cuda.get_device_name()
    else:
        facts["device"] = "cpu"
    try:
        from pruneofa.training.config import bfloat16_pays
    except ModuleNotFoundError as error:
        return {**facts, "precision": f"unknown: {error.name} is missing"}
    return {**facts, "precision": "bfloat16" if bfloat16_pays() else "float32"}

"""Commands about the machine: doctor."""

from typing import Annotated

import typer

from pruneofa.cli.options import Json


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("doctor", epilog="Example: pruneofa doctor --json")(doctor)


def doctor(
    torch: Annotated[
        bool,
        typer.Option("--torch", help="Import PyTorch too: its threads, its device, and the precision of training."),
    ] = False,
    as_json: Json = False,
) -> None:
    """What this machine offers: processor, memory, the engine's kernels and threads, versions of the libraries."""
    from pruneofa import __version__, machine

    facts = {"pruneofa": __version__, **machine.describe(), **_engine_facts()}
    facts |= _torch_facts() if torch else _facts_without_torch()
    if as_json:
        from pruneofa.cli.output import print_json

        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {value}")


def _engine_facts() -> dict[str, str]:
    """Which kernels and how many threads the engine uses here; faults of them are told, not raised."""
    from pruneofa.cores import thread_choice
    from pruneofa.engine.native import active_kernel, kernel_names
    from pruneofa.errors import PruneofaError

    facts = {}
    try:
        facts = {"active kernel": active_kernel(), "supported kernels": ", ".join(kernel_names())}
    except PruneofaError as error:
        facts = {"active kernel": f"none: {error}"}
    try:
        choice = thread_choice()
        return {**facts, "engine threads": str(choice.threads), "engine threads by": choice.reason}
    except PruneofaError as error:
        return {**facts, "engine threads": f"none: {error}"}


def _facts_without_torch() -> dict[str, str]:
    from pruneofa import machine

    facts = machine.package_versions()
    if "torch" not in facts:
        return {**facts, "torch": "missing; training needs: pip install 'pruneofa[train]'"}
    return {**facts, "torch threads": f"{_torch_default_threads()} (its default; device and precision: doctor --torch)"}


def _torch_default_threads() -> int:
    """What PyTorch takes if nobody sets it: the variables of its libraries, else the physical cores, as its builds
    with MKL do.
    """
    import os

    from pruneofa.cores import physical_cores

    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return physical_cores()


def _torch_facts() -> dict[str, str]:
    from pruneofa import machine

    facts = machine.package_versions()
    if "torch" not in facts:
        return _facts_without_torch()
    import torch

    facts["torch threads"] = str(torch.get_num_threads())
    facts["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    try:
        from pruneofa.training.config import bfloat16_pays
    except ModuleNotFoundError as error:
        return {**facts, "precision": f"unknown: {error.name} is missing"}
    return {**facts, "precision": "bfloat16" if bfloat16_pays() else "float32"}

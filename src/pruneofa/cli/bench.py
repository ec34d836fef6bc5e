"""The command that times the engine beside other runtimes: bench."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pruneofa.cli.options import Json
from pruneofa.cli.settings import settings_from_flags

if TYPE_CHECKING:
    from pruneofa.benchmarking.config import BenchConfig


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(
        "bench",
        epilog="Example: pruneofa bench runs/demo/model.pofa --against onnxruntime,openvino --lengths 128,384 "
        "--batches 1,16 --threads 1,2 --output bench.json --figure bench.png",
    )(bench)


def bench(
    model: Annotated[str, typer.Argument(help="Compressed file or model folder.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="NAMES",
            help="Runtimes to compare with, such as onnxruntime,openvino,torch; none for the engine alone (default: "
            "all that are installed).",
        ),
    ] = None,
    lengths: Annotated[str, typer.Option("--lengths", help="Tokens of a sequence, with commas.")] = "128",
    batches: Annotated[str, typer.Option("--batches", help="Sequences of a call, with commas.")] = "1,16",
    threads: Annotated[str, typer.Option("--threads", help="Cores, with commas.")] = "1",
    repeats: Annotated[int, typer.Option("--repeats", help="Turns of each runtime and shape, three calls each.")] = 20,
    seconds: Annotated[
        float, typer.Option("--seconds", help="A shape ends early after this time, but not before 5 calls.")
    ] = 40.0,
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="The engine's kernels by name (`pruneofa doctor` lists them).")
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work_dir", help="Keep the models of the peers here, so that the next run need not make them."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="JSON file, written after each shape.")] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Picture to write, .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Time a model on the engine and on other runtimes, by turns in one run: a table, JSON, a picture.

    Every runtime has the model in the form that is quickest for it, in a process of its own, and answers the same
    inputs; how near its answers are to the engine's is in the table.
    """
    import logging
    import sys

    from pruneofa.atomic import write_json
    from pruneofa.errors import CheckpointError

    if not Path(model).exists():
        raise CheckpointError(f"model {model!r}: there is no such file or folder; give a .pofa file or a model folder")
    from pruneofa.benchmarking.bench import bench_model, kept_files
    from pruneofa.cli.output import print_bench, print_json, quiet_libraries
    from pruneofa.errors import ConfigurationError
    from pruneofa.reporting.bench import case_label, times_of
    from pruneofa.reporting.bench_figure import write_bench_figure

    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise ConfigurationError(f"--figure: is {str(figure)!r}; give a name that ends in .png or .svg")
    config = _config(against, lengths, batches, threads, repeats, seconds)
    quiet_libraries()
    command = ["pruneofa", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])]

    def tell(document: dict[str, Any]) -> None:
        case = document["cases"][-1]
        logging.getLogger(__name__).info("%s: %s", case_label(case), times_of(case))
        if output is not None:  # a run that is ended leaves what it has
            write_json(output, {**document, "command": " ".join(command), "finished": False})

    document = bench_model(
        model,
        config,
        name=Path(model).name,
        kernel=kernel,
        work_dir=None if work_dir is None else kept_files(work_dir, model),
        progress=tell,
    )
    document["command"], document["finished"] = " ".join(command), True
    if output is not None:
        write_json(output, document)
    if figure is not None:
        write_bench_figure(document, figure)
    if as_json:
        print_json(document)
    else:
        print_bench(document)


def _config(
    against: str | None, lengths: str, batches: str, threads: str, repeats: int, seconds: float
) -> "BenchConfig":
    """The settings that the flags give.

    Raises:
        ConfigurationError: A flag is out of range; all such are told at once.
    """
    import logging

    from pruneofa.benchmarking.config import BenchConfig
    from pruneofa.benchmarking.peers import PEERS, missing_packages

    if against is None:
        peers = []
        for peer, (_, remedy) in PEERS.items():
            if missing := missing_packages(peer):
                logging.getLogger(__name__).warning(
                    "%s is left out: %r is not installed (%s)", peer, missing[0], remedy
                )
            else:
                peers.append(peer)
    else:
        peers = [] if against.strip() == "none" else _words(against)
    given = {"lengths": _words(lengths), "batches": _words(batches), "threads": _words(threads), "peers": peers}
    return settings_from_flags(BenchConfig, {**given, "repeats": repeats, "seconds": seconds}, {"peers": "against"})


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]

"""The `pruneofa` command: its subcommands, its messages, its exit codes (0 done, 1 failed, 2 wrong use)."""

import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from pruneofa.cli import bench, corpus, evaluation, files, one_shot, pipeline, plan, prediction, stages, system
from pruneofa.errors import ConfigurationError, PruneofaError
from pruneofa.ranks import FirstRankError, be_alone, has_joined, is_first, leave, rank, world_size
from pruneofa.terminal import messages
from pruneofa.workflow.stage_list import TRAINING

# What several processes do together; of any other command the first does all.
_ON_EVERY_RANK = ("run", "corpus", *TRAINING)

app = typer.Typer(
    name="pruneofa",
    help="Prune Once for All: prune a language encoder once, fine-tune it for any task, ship it small.",
    epilog="Start with: pruneofa run demo-tiny --output_dir runs/demo-tiny",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (pipeline, corpus, stages, one_shot, evaluation, prediction, plan, files, bench, system):
    module.register(app)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also show what the libraries say.")] = False,
) -> None:
    if version:
        from pruneofa import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if world_size() > 1 and context.invoked_subcommand not in _ON_EVERY_RANK:
        if not is_first():
            raise typer.Exit
        be_alone()
    _set_up_messages(verbose)


def main() -> None:
    """Run the command line; the console script's entry.

    Of several processes (torchrun) the first one prints; the others only what befell them alone.
    """
    with contextlib.ExitStack() as silence:
        if not is_first():
            nowhere = silence.enter_context(Path(os.devnull).open("w"))
            silence.enter_context(contextlib.redirect_stdout(nowhere))
        _run()


def _run() -> None:
    try:
        app()
    except FirstRankError:
        sys.exit(1)  # it has told why itself
    except ConfigurationError as error:
        _fail(str(error), 2)
    except PruneofaError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pruneofa"):
            raise
        _fail(f"the package {error.name!r} is missing; this command needs: pip install {_extra_of(error.name)!r}", 1)
    except Exception as error:
        place = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        if _disk_is_full(error):
            _fail(f"the disk is full{place}; free some space and run the same command again, it goes on from there", 1)
        if not isinstance(error, OSError):
            raise
        _fail(f"{error.strerror or error}{place}", 1)
    except SystemExit as ended:
        # Typer ends an interrupted command with this code and no word.
        if ended.code == 130:
            _fail("interrupted; run the same command again to go on where it stopped", 130)
        if not ended.code:
            leave()
        raise


def _extra_of(package: str | None) -> str:
    """What to install for a package that is missing."""
    exporting = (package or "").partition(".")[0] in ("onnx", "onnxscript", "onnxruntime")
    return "pruneofa[train,export]" if exporting else "pruneofa[train]"


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is what `error` comes from; safetensors and torch tell it in their text alone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str, code: int) -> None:
    if is_first():
        print(f"error: {message}", file=sys.stderr)
    elif has_joined():  # before, all fail alike
        print(f"error on rank {rank()}: {message}", file=sys.stderr)
    sys.exit(code)


def _set_up_messages(verbose: bool) -> None:
    """Progress and warnings go to standard error: coloured on a terminal, plain lines elsewhere."""
    handler: logging.Handler
    if messages.is_terminal:
        handler = RichHandler(console=messages, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("pruneofa").setLevel(logging.INFO if is_first() else logging.ERROR)

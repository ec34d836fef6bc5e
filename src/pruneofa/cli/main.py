"""The `pruneofa` command: its subcommands, its messages, its exit codes (0 done, 1 failed, 2 wrong use)."""

import errno
import logging
import sys

import typer
from rich.logging import RichHandler

from pruneofa.cli import files, pipeline, stages, system
from pruneofa.errors import ConfigurationError, PruneofaError
from pruneofa.terminal import messages

app = typer.Typer(
    name="pruneofa",
    help="Prune Once for All: prune a language encoder once, fine-tune it for any task, ship it small.",
    epilog="Start with: pruneofa run demo-tiny --output_dir runs/demo-tiny",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (pipeline, stages, files, system):
    module.register(app)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    verbose: bool = typer.Option(False, "--verbose", help="Also show what the libraries say."),
) -> None:
    if version:
        from pruneofa import __version__

        typer.echo(__version__)
        raise typer.Exit
    _set_up_messages(verbose)


def main() -> None:
    """Run the command line; the console script's entry."""
    try:
        app()
    except ConfigurationError as error:
        _fail(str(error), 2)
    except PruneofaError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        _fail(f"the package {error.name!r} is missing; this command needs: pip install 'pruneofa[train]'", 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail("the disk is full; free some space and run the same command again, it goes on where it stopped", 1)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to go on where it stopped", 130)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)
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
    logging.getLogger("pruneofa").setLevel(logging.INFO)

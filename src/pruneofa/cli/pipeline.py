"""Commands around whole runs: run, report, recipes."""

from pathlib import Path
from typing import Annotated

import typer

from pruneofa.cli.options import Overwrite, RecipeArgument, Set


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(
        "run", epilog="Example: pruneofa run demo-tiny --output_dir runs/tiny --set prune.sparsity.target_sparsity=0.9"
    )(run)
    app.command("report", epilog="Example: pruneofa report runs/demo")(report)
    app.command("recipes", epilog="Example: pruneofa recipes demo > my.yaml")(recipes)


def run(
    recipe: RecipeArgument,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Folder of the run (default: runs/NAME).")
    ] = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Run a whole recipe; what is done and unchanged is skipped, what was interrupted goes on.

    Leaves model.pofa and report.html in the folder.
    """
    from pruneofa.cli.output import print_comparison, quiet_libraries
    from pruneofa.pipeline import run_pipeline
    from pruneofa.recipe_files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    folder = output_dir or Path("runs") / loaded.name
    quiet_libraries()
    data = run_pipeline(loaded, folder, overwrite=overwrite)
    print_comparison(data.rows)
    if (folder / "model.pofa").exists():
        typer.echo(f"model:  {folder / 'model.pofa'}")
    typer.echo(f"report: {folder / 'report.html'}")


def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write a run's report anew: one self-contained HTML page, and report.json."""
    from pruneofa.stages.report import write_report

    write_report(run_dir)
    typer.echo(f"report: {run_dir / 'report.html'}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one's YAML.")] = None,
    output_path: Annotated[Path | None, typer.Option("--output_path", help="Copy it to this file instead.")] = None,
) -> None:
    """List the shipped recipes, or copy one."""
    from pruneofa.atomic import write_text
    from pruneofa.errors import ConfigurationError
    from pruneofa.recipe_files import shipped_recipes

    shipped = shipped_recipes()
    if name is None:
        for known, text in shipped.items():
            typer.echo(f"{known:<24}{_first_comment(text)}")
        return
    if name not in shipped:
        raise ConfigurationError(f"recipe {name!r} is not shipped; allowed: {', '.join(shipped)}")
    if output_path is None:
        typer.echo(shipped[name], nl=False)
    elif output_path.exists():
        raise ConfigurationError(f"--output_path {str(output_path)!r} exists; choose another name")
    else:
        write_text(output_path, shipped[name])


def _first_comment(text: str) -> str:
    """What a recipe says of itself: its second comment line, the first being its launch command."""
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    return comments[1] if len(comments) > 1 else ""

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
    pretraining_dir: Annotated[
        Path | None,
        typer.Option(
            "--pretraining_dir", help="Folder of corpus, teach and prune, for several tasks (default: the run's)."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,2", help="Run the task with each of these; mean and spread.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry_run", help="Say what would be done (architecture, sparsity, schedule); run nothing.")
    ] = False,
    overrides: Set = None,
    overwrite: Overwrite = False,
) -> None:
    """Run a whole recipe; what is done and unchanged is skipped, what was interrupted goes on.

    Leaves model.pofa and report.html in the folder; with --seeds in a folder for each, and seeds.json.
    """
    from pruneofa.cli.output import print_comparison, print_outline, print_seeds, print_speed, quiet_libraries
    from pruneofa.recipe.files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    numbers = None if seeds is None else _numbers(seeds)
    quiet_libraries()
    if dry_run:
        from pruneofa.planning.outline import outline

        print_outline(outline(loaded))
        return
    from pruneofa.workflow.pipeline import run_pipeline, run_seeds, shared_pretraining

    folder = output_dir or Path("runs") / loaded.name
    if not folder.exists() and not overrides:
        _tell_time(loaded.name)
    shared = shared_pretraining(pretraining_dir)
    if numbers is not None:
        print_seeds(run_seeds(loaded, numbers, folder, overwrite=overwrite, shared=shared))
        typer.echo(f"seeds:  {folder / 'seeds.json'}")
        return
    data = run_pipeline(loaded, folder, overwrite=overwrite, shared=shared)
    print_comparison(data.rows)
    print_speed(data)
    if (folder / "model.pofa").exists():
        typer.echo(f"model:  {folder / 'model.pofa'}")
    typer.echo(f"report: {folder / 'report.html'}")


def _tell_time(recipe: str) -> None:
    """How long the demo takes on this machine, and what is quicker."""
    import logging

    from pruneofa.planning.demo_time import demo_time

    if (found := demo_time(recipe)) is not None:
        logging.getLogger(__name__).info(
            "%s: about %.0f minutes on this machine (%.0f billion products a second in %s%s)",
            recipe,
            found.minutes,
            found.products_per_second / 1e9,
            found.precision,
            "" if found.minutes < 25 else "; `pruneofa run demo-tiny` shows the same in a few minutes",
        )


def _numbers(text: str) -> list[int]:
    """The seeds in `0,1,2`."""
    from pruneofa.errors import ConfigurationError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < 2**32 for part in parts):
        raise ConfigurationError(
            f"--seeds: is {text!r}; allowed: whole numbers with commas between them, such as 0,1,2"
        )
    return [int(part) for part in parts]


def report(folder: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Write a run's report anew: one HTML page, report.json and the model's card."""
    from pruneofa.cli.inputs import check_folder

    check_folder(folder, "the --output_dir of a run")
    from pruneofa.workflow.report import write_report

    write_report(folder)
    typer.echo(f"report: {folder / 'report.html'}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one's YAML.")] = None,
    output_path: Annotated[Path | None, typer.Option("--output_path", help="Copy it to this file instead.")] = None,
) -> None:
    """List the shipped recipes, the paper's with its figures (percent), or copy one."""
    from pruneofa.atomic import write_text
    from pruneofa.errors import ConfigurationError
    from pruneofa.recipe.files import shipped_recipes
    from pruneofa.recipe.published import published_rows

    shipped = shipped_recipes()
    if name is None:
        rows = {row.recipe: row for row in published_rows()}
        for known, text in shipped.items():
            about = _first_comment(text)
            if known in rows:  # of the paper's rows the list says where they lead; the YAML says the rest
                about = f"{about.partition(':')[0]}; paper: {rows[known].text}"
            typer.echo(f"{known:<28}{about}")
        return
    if name not in shipped:
        raise ConfigurationError(f"recipe {name!r} is not shipped; `pruneofa recipes` lists those that are")
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

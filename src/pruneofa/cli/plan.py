"""The command `plan`: what a recipe's training will need and cost, before it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pruneofa.cli.options import Json, RecipeArgument, Set

if TYPE_CHECKING:
    from pruneofa.planning.devices import DeviceKind
    from pruneofa.planning.load import StageLoad
    from pruneofa.recipe.document import Recipe

_EXAMPLE = "pruneofa plan bert-base-90 --devices 1 --devices 8 --kind h100-sxm"

_Devices = Annotated[
    list[int] | None, typer.Option("--devices", min=1, help="How many; repeatable, to compare (default: 1).")
]
_Kind = Annotated[
    str | None, typer.Option("--kind", help="Kind of device: a100-80gb, h100-sxm ..., or here for the one at hand.")
]
_PeakFlops = Annotated[
    float | None, typer.Option("--peak_flops", help="Operations a second of a kind that is not in the table.")
]
_MemoryBytes = Annotated[
    float | None, typer.Option("--memory_bytes", help="Memory of a kind that is not in the table.")
]
_Utilisation = Annotated[
    float | None, typer.Option("--utilisation", help="Share of the peak that a run reaches (default: 0.35).")
]
_StepSeconds = Annotated[
    list[str] | None,
    typer.Option("--step_seconds", metavar="STAGE=SECONDS", help="State what a step takes; repeatable."),
]
_Measure = Annotated[
    int | None,
    typer.Option("--measure", min=1, help="Time so many real steps of teach and prune on the device at hand."),
]
_BuiltCorpus = Annotated[
    Path | None,
    typer.Option("--corpus_dir", help="What `pruneofa corpus` wrote: its real lengths instead of full ones."),
]
_TrainExamples = Annotated[
    int | None, typer.Option("--train_examples", min=1, help="Of the task, where a length is in epochs.")
]


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command("plan", epilog=f"Example: {_EXAMPLE}")(plan)


def plan(
    recipe: RecipeArgument,
    devices: _Devices = None,
    kind: _Kind = None,
    peak_flops: _PeakFlops = None,
    memory_bytes: _MemoryBytes = None,
    utilisation: _Utilisation = None,
    step_seconds: _StepSeconds = None,
    measure: _Measure = None,
    corpus_dir: _BuiltCorpus = None,
    train_examples: _TrainExamples = None,
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Tokens, operations, memory per device, bytes of checkpoints and time of a recipe's training."""
    from pruneofa.cli.inputs import check_folder
    from pruneofa.cli.output import print_json, print_plan, quiet_libraries
    from pruneofa.recipe.files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    check_folder(corpus_dir, "what `pruneofa corpus` wrote (--corpus_dir)")
    from pruneofa.planning.estimate import DEFAULT_UTILISATION, Assumptions, make_plan
    from pruneofa.planning.load import loads
    from pruneofa.planning.sizes import recipe_config

    _check_positive(peak_flops=peak_flops, memory_bytes=memory_bytes)
    _check_share(utilisation)
    device = _device(kind, peak_flops, memory_bytes, measure)
    stated = _seconds_by_stage(step_seconds or (), devices or [1])
    quiet_libraries()
    config = recipe_config(loaded)
    lengths, examples = _of_corpus(corpus_dir)
    work, left_out = loads(
        loaded, config, corpus_lengths=lengths, corpus_examples=examples, task_examples=train_examples
    )
    measured = _measured(loaded, work, config, measure, corpus_dir) if measure else {}
    assumptions = Assumptions(
        kind=device,
        utilisation=DEFAULT_UTILISATION if utilisation is None else utilisation,
        bfloat16=_bfloat16(work, device),
        batch_seconds={stage: found.seconds for stage, found in measured.items()},
        step_seconds=stated,
    )
    made = make_plan(loaded, work, assumptions, devices or [1], left_out).as_dict()
    made["measured"] = [vars(found) for found in measured.values()]
    if as_json:
        print_json(made)
    else:
        print_plan(made)


def _device(
    kind: str | None, peak_flops: float | None, memory_bytes: float | None, measure: int | None
) -> "DeviceKind | None":
    """The kind that the flags name or describe."""
    from pruneofa.errors import ConfigurationError
    from pruneofa.planning.devices import DeviceKind, device_here, device_kind

    if kind is not None and (peak_flops is not None or memory_bytes is not None):
        raise ConfigurationError(
            f"--kind {kind} has its own rate and memory; give either it, or --peak_flops and --memory_bytes"
        )
    if peak_flops is not None or memory_bytes is not None:
        return DeviceKind(
            "described", "the device described", peak_flops, None if memory_bytes is None else int(memory_bytes)
        )
    if kind is None:
        return device_here() if measure else None
    return device_kind(kind)


def _check_positive(**flags: float | None) -> None:
    from pruneofa.errors import ConfigurationError

    for name, value in flags.items():
        if value is not None and not 0 < value < float("inf"):
            raise ConfigurationError(f"--{name} is {value}; allowed: a number above 0")


def _check_share(utilisation: float | None) -> None:
    from pruneofa.errors import ConfigurationError

    if utilisation is not None and not 0 < utilisation <= 1:
        raise ConfigurationError(f"--utilisation is {utilisation}; allowed: above 0, at most 1")


def _seconds_by_stage(words: Any, devices: list[int]) -> dict[str, float]:
    """`STAGE=SECONDS` words as numbers."""
    from pruneofa.errors import ConfigurationError
    from pruneofa.workflow.stage_list import TRAINING

    found = {}
    for word in words:
        stage, _, text = word.partition("=")
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if stage not in TRAINING or not 0 < seconds < float("inf"):
            raise ConfigurationError(
                f"--step_seconds {word!r}: allowed: STAGE=SECONDS, such as prune=0.8, where STAGE is one of "
                f"{', '.join(TRAINING)}"
            )
        found[stage] = seconds
    if found and len(devices) > 1:
        raise ConfigurationError(
            f"--step_seconds holds for one number of devices, but --devices gives {len(devices)}; ask for one at a time"
        )
    return found


def _of_corpus(corpus_dir: Path | None) -> tuple[Any, int | None]:
    """Lengths and number of a built corpus's training examples."""
    from pruneofa.data.pretraining.summary import corpus_record
    from pruneofa.planning.load import Lengths

    if corpus_dir is None:
        return None, None
    facts = corpus_record(corpus_dir)[0]["statistics"]["train"]
    return Lengths.counted(facts["histograms"]["example_lengths"]), int(facts["examples"])


def _bfloat16(work: "list[StageLoad]", device: "DeviceKind | None") -> bool:
    """Whether the stages compute in bfloat16: as their settings say, `auto` by the device."""
    from pruneofa.training.config import uses_bfloat16

    here = device is not None and device.kind == "here"
    return any(
        uses_bfloat16(load.training) if here else load.training.precision in ("auto", "bfloat16") for load in work
    )


def _measured(
    recipe: "Recipe", work: "list[StageLoad]", config: Any, steps: int, corpus_dir: Path | None
) -> dict[str, Any]:
    """What the pre-training stages take on the device at hand."""
    from pruneofa.allocator import keep_freed_memory
    from pruneofa.planning.measure import examples_to_measure, measure_stage
    from pruneofa.workflow.stage_list import ON_CORPUS

    keep_freed_memory()
    found = {}
    for load in work:
        if load.stage in ON_CORPUS:
            data = {} if corpus_dir is None else examples_to_measure(recipe, load.stage, corpus_dir)
            found[load.stage] = measure_stage(recipe, load, config, steps, **data)
    return found

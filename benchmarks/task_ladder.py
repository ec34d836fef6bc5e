"""One pre-trained model on several tasks: dense, PruneOFA, its int8, and baselines that show what each part is worth.

Variants, all at the same number of fine-tuning steps and, but for the dense one, at each sparsity:

- dense: the dense pre-trained model, fine-tuned; the seed that is best on what is held out teaches all others.
- dense_distilled, dense_labels: the same model trained as the sparse ones are, from that teacher or from labels alone:
  what of the distance to dense is the teacher's and the recipe's, and what the zeros'.
- prune_once: the sparse pre-trained model, pattern locked, distilled; prune_once_int8: the same, quantized.
- prune_while_finetuning: the dense pre-trained model, pruned while it is fine-tuned, distilled.
- no_pretraining_distillation: as prune_once, from a student that was pruned without a teacher.
- no_transfer_distillation: as prune_once, from labels alone.
- no_rewinding: as prune_once, from a student that was pruned at a linearly falling rate.
- no_lock: as prune_once, but nothing holds the zeros.

`--pretrained` is a folder with the models `dense`, `distilled-0.85`, `undistilled-0.85`, `unrewound-0.85`, likewise for
other sparsities (benchmarks/pretrained_sparse.py makes the first three kinds); variants whose model is not there are
left out. `--data-dir` holds the tasks' files in a public layout; tasks whose files are not there are left out too.

Learning rates follow one rule for all variants, see RULE. Every stage is kept in the work folder, so this can be broken
off and called again, and several processes may share the folder (`--tasks`, `--variants` divide the work): a stage that
one of them is at is waited for. Models that nothing needs any more are dropped; their records, logs and metrics stay.

    python benchmarks/task_ladder.py --pretrained runs/pretrained_tiny --data-dir DATA --output results/task_ladder.json

`--steps`, `--train_examples`, `--baselines_at`, `--search_once`, `--set_of` and the grids make a ladder that a small
machine can afford; what they cut is said in the file.
"""

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ladder_parts import drop_model, has_metrics, metrics_of, part_of_task, run_stage, tokenised_once
from provenance import provenance

from pruneofa.atomic import write_json
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.errors import DataError
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.recipe.published import published_rows
from pruneofa.stage_folder import load_log
from pruneofa.workflow.record import read_record

RULE = (
    "Learning rates: each variant at {where} is trained with every rate of its grid, seed {seed}; the rate that is "
    "best on the part of the training split that no stage trains on is taken for all {what}. {extended} "
    "Results are those of the last step."
)
EXTENDED = "Where that is the grid's lowest or highest, the grid goes on by its factor, at most {extensions} times."
NOT_EXTENDED = "The grid does not go on where that is its lowest or highest."
VARIANTS = (
    "dense",
    "dense_distilled",
    "dense_labels",
    "prune_once",
    "prune_once_int8",
    "prune_while_finetuning",
    "no_pretraining_distillation",
    "no_transfer_distillation",
    "no_rewinding",
    "no_lock",
)
# Which pre-trained model a variant starts from; the rest start from the distilled one.
STARTS = {
    "dense": "dense",
    "dense_distilled": "dense",
    "dense_labels": "dense",
    "prune_while_finetuning": "dense",
    "no_pretraining_distillation": "undistilled-{sparsity:g}",
    "no_rewinding": "unrewound-{sparsity:g}",
}
WITHOUT_ZEROS = ("dense", "dense_distilled", "dense_labels")
LABELS_ALONE = ("dense_labels", "no_transfer_distillation")
# What shows the worth of one part each; `--baselines_at` limits their sparsities.
ABLATIONS = ("no_pretraining_distillation", "no_transfer_distillation", "no_rewinding", "no_lock")


@dataclass(frozen=True)
class TaskSettings:
    """How long a task is trained, and on how long examples."""

    max_length: int
    epochs: float
    int8_epochs: float
    validation_fraction: float


TASKS = {
    "sst2": TaskSettings(128, 3, 0.5, 0.02),
    "mnli": TaskSettings(128, 6, 1, 0.1),
    "qnli": TaskSettings(128, 6, 1, 0.1),
    "qqp": TaskSettings(128, 6, 1, 0.1),
    "squad": TaskSettings(384, 6, 1, 0.1),
}


@dataclass(frozen=True)
class Rung:
    """What a call measures: folders, seeds, grids, lengths (None: the task's own), and overrides of every recipe."""

    pretrained: Path
    data_dir: Path
    work: Path
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    int8_rates: tuple[float, ...]
    overrides: tuple[str, ...] = ()
    extensions: int = 3
    search_once: bool = False
    baselines_at: tuple[float, ...] | None = None
    steps: int | None = None
    int8_steps: int | None = None
    train_examples: int | None = None
    overrides_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finished_only: bool = False

    def recipe(self, task: str, seed: int, *more: str) -> Recipe:
        """The recipe of a stage on a task."""
        settings = TASKS[task]
        about = {
            "task_name": task,
            "data_dir": str(self.data_dir),
            "max_length": settings.max_length,
            "validation_fraction": settings.validation_fraction,
        }
        about = part_of_task(about, self.train_examples, self.work / task)
        lengths = [
            *(_length(stage, self.steps, settings.epochs) for stage in ("finetune", "transfer")),
            _length("quantize", self.int8_steps, settings.int8_epochs),
        ]
        path = Path(__file__).with_suffix(".yaml")
        base = [f"seed={seed}", f"task={json.dumps(about)}", *lengths]
        return load_recipe(str(path), [*base, *self.overrides_on(task), *more])

    def overrides_on(self, task: str) -> list[str]:
        """Those of every recipe, and the task's own."""
        return [*self.overrides, *self.overrides_of.get(task, ())]

    def sparsities(self) -> list[float]:
        """Those of the students that are there."""
        found = sorted(float(path.name.partition("-")[2]) for path in self.pretrained.glob("distilled-*"))
        return [sparsity for sparsity in found if self.has_start("prune_once", sparsity)]

    def sparsities_of(self, variant: str) -> list[float]:
        """Those at which a variant is measured."""
        if variant in WITHOUT_ZEROS:
            return [0.0]
        wanted = self.baselines_at if variant in ABLATIONS else None
        return [sparsity for sparsity in self.sparsities() if wanted is None or sparsity in wanted]

    def has_start(self, variant: str, sparsity: float) -> bool:
        """Whether the pre-trained model that a variant starts from is there."""
        record = read_record(self.start(variant, sparsity))
        return record is not None and record.finished

    def start(self, variant: str, sparsity: float) -> Path:
        """The pre-trained model that a variant starts from."""
        return self.pretrained / STARTS.get(variant, "distilled-{sparsity:g}").format(sparsity=sparsity)


def _length(stage: str, steps: int | None, epochs: float) -> str:
    if steps is not None:
        return f"{stage}.training.max_steps={steps}"
    return f"{stage}.training.num_train_epochs={epochs}"


def variant_overrides(variant: str, sparsity: float, steps: int) -> list[str]:
    """What makes the transfer stage that of a variant."""
    if variant in WITHOUT_ZEROS:  # a pruner that prunes nothing, since there is no pattern to lock
        nothing = {"target_sparsity": 0.0, "end_step": 1, "update_every": 1}
        alone = ["transfer.distillation=null"] if variant in LABELS_ALONE else []
        return [f"transfer.sparsity={json.dumps(nothing)}", *alone]
    if variant in LABELS_ALONE:
        return ["transfer.distillation=null"]
    if variant == "no_lock":
        return ["transfer.lock=false", "transfer.training.logging_steps=5"]  # zeros are counted when it logs
    if variant == "prune_while_finetuning":
        # The ramp takes the authors' shares of the run: pruned until half, masks re-selected until four fifths.
        ramp = {
            "target_sparsity": sparsity,
            "end_step": steps // 2,
            "freeze_step": steps * 4 // 5,
            "update_every": max(1, steps // 100),
        }
        return [f"transfer.sparsity={json.dumps(ramp)}"]
    return []


class TaskRun:
    """All variants of a rung on one task.

    Args:
        rung: see there.
        task: its name.
    """

    def __init__(self, rung: Rung, task: str) -> None:
        self.rung, self.task = rung, task
        self.folder = rung.work / task
        self.metric = "f1" if task.startswith("squad") else "accuracy"

    def place(self, variant: str, sparsity: float, rate: float, seed: int) -> Path:
        """The folder of a run."""
        name = variant if variant == "dense" else f"{variant}-{sparsity:g}"
        return self.folder / name / f"rate-{rate:g}-seed-{seed}"

    def dense(self, rate: float, seed: int, *, model: bool = False) -> Path:
        """The dense model, fine-tuned."""
        recipe = self.rung.recipe(self.task, seed, f"finetune.training.learning_rate={rate}")
        folder = self.place("dense", 0.0, rate, seed)
        run_stage("finetune", recipe, {"dense": str(self.rung.pretrained / "dense")}, folder, model=model)
        return folder

    def teacher(self) -> Path:
        """The dense model that is best on what is held out, of all seeds at the rate that was chosen."""
        rate = self.search("dense", 0.0)["chosen"]
        return max((self.dense(rate, seed, model=True) for seed in self.rung.seeds), key=self.held_out)

    def sparse(self, variant: str, sparsity: float, rate: float, seed: int, *, model: bool = False) -> Path:
        """A sparse model of a variant, on the task."""
        teacher = self.teacher()
        recipe = self.rung.recipe(self.task, seed, f"transfer.training.learning_rate={rate}")
        own = variant_overrides(variant, sparsity, self.steps(recipe, teacher))
        recipe = self.rung.recipe(self.task, seed, f"transfer.training.learning_rate={rate}", *own)
        inputs = {"sparse": str(self.rung.start(variant, sparsity)), "task_teacher": str(teacher)}
        if variant in LABELS_ALONE:
            del inputs["task_teacher"]
        folder = self.place(variant, sparsity, rate, seed)
        run_stage("transfer", recipe, inputs, folder, model=model)
        return folder

    def int8(self, sparsity: float, rate: float, seed: int, *, model: bool = False) -> Path:
        """The sparse model of `prune_once`, quantized."""
        start = self.sparse("prune_once", sparsity, self.search("prune_once", sparsity)["chosen"], seed, model=True)
        recipe = self.rung.recipe(self.task, seed, f"quantize.training.learning_rate={rate}")
        folder = self.place("prune_once_int8", sparsity, rate, seed)
        inputs = {"task_model": str(start), "task_teacher": str(self.teacher())}
        run_stage("quantize", recipe, inputs, folder, model=model)
        return folder

    def model(self, variant: str, sparsity: float, rate: float, seed: int, *, model: bool = False) -> Path:
        """Any variant's folder, with `model` with the model in it."""
        if variant == "dense":
            return self.dense(rate, seed, model=model)
        if variant.endswith("int8"):
            return self.int8(sparsity, rate, seed, model=model)
        return self.sparse(variant, sparsity, rate, seed, model=model)

    def search(self, variant: str, sparsity: float) -> dict[str, Any]:
        """The rate of a variant, by RULE, and what it was chosen from; kept, so that it is chosen once."""
        if self.rung.search_once and sparsity:
            sparsity = self.rung.sparsities()[0]
        found = self.searched(variant, sparsity)
        if found is not None:
            return found
        grid, settings, kept = self._grid(variant), self._search_settings(variant), self._rate_file(variant, sparsity)
        factor = grid[1] / grid[0] if len(grid) > 1 else 1.0
        scores: dict[float, float] = {}
        wanted, extended = list(grid), 0
        while wanted:
            for rate in wanted:
                scores[rate] = self.held_out(self.model(variant, sparsity, rate, self.rung.seeds[0]))
                logging.info("%s: %s %g at %g: %.4f held out", self.task, variant, sparsity, rate, scores[rate])
            best = max(scores, key=lambda rate: scores[rate])
            beyond = {min(scores): best / factor, max(scores): best * factor}.get(best)
            ends = beyond is None or extended == self.rung.extensions or factor == 1.0
            wanted = [] if ends else [float(f"{beyond:.3g}")]
            extended += 1
        found = {
            "settings": settings,
            "held_out": {f"{rate:g}": score for rate, score in sorted(scores.items())},
            "chosen": best,
        }
        write_json(kept, found)
        for rate in scores.keys() - {best}:
            drop_model(self.model(variant, sparsity, rate, self.rung.seeds[0]))
        return found

    def searched(self, variant: str, sparsity: float) -> dict[str, Any] | None:
        """What `search` has found already, in the same search."""
        if self.rung.search_once and sparsity:
            sparsity = self.rung.sparsities()[0]
        kept = self._rate_file(variant, sparsity)
        found = dict(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else {}
        return found if found.get("settings") == self._search_settings(variant) else None

    def _rate_file(self, variant: str, sparsity: float) -> Path:
        return self.folder / f"rate-of-{variant}-{sparsity:g}.json"

    def _grid(self, variant: str) -> tuple[float, ...]:
        return self.rung.int8_rates if variant.endswith("int8") else self.rung.rates

    def _search_settings(self, variant: str) -> dict[str, Any]:
        rung = self.rung
        settings = {"grid": list(self._grid(variant)), "overrides": rung.overrides_on(self.task), "seed": rung.seeds[0]}
        return settings | {"steps": [rung.steps, rung.int8_steps], "extensions": rung.extensions}

    def is_finished(self, variant: str, sparsity: float) -> bool:
        """Whether the rate is chosen, and every seed trained and measured."""
        found = self.searched(variant, sparsity)
        return found is not None and all(
            has_metrics(self.place(variant, sparsity, found["chosen"], seed)) for seed in self.rung.seeds
        )

    def held_out(self, folder: Path) -> float:
        """The metric on what is held out of training."""
        record = read_record(folder)
        assert record is not None
        return float(record.results["validation"][self.metric])

    def steps(self, recipe: Recipe, teacher: Path) -> int:
        """Optimizer steps of the transfer stage."""
        assert recipe.transfer is not None
        training = recipe.transfer.training
        if training.max_steps is not None:
            return training.max_steps
        train = read_record(teacher).results["task"]["train"]  # type: ignore[union-attr]
        examples = int(train.get("windows", train["examples"]))
        return int((training.num_train_epochs or 3) * (examples // training.per_device_train_batch_size))

    def run(self, variants: list[str]) -> dict[str, Any]:
        """Everything of this task, for the results."""
        teacher = self.teacher()
        figures = read_record(teacher).results["task"]  # type: ignore[union-attr]
        runs, rates = [], {}
        for variant in (variant for variant in VARIANTS if variant in variants):
            for sparsity in self.rung.sparsities_of(variant):
                if not self.rung.has_start(variant, sparsity):
                    logging.warning("%s at %g: its pre-trained model is not there, left out", variant, sparsity)
                    continue
                if self.rung.finished_only and not self.is_finished(variant, sparsity):
                    logging.warning("%s: %s at %g is not finished, left out", self.task, variant, sparsity)
                    continue
                rates[f"{variant}-{sparsity:g}"] = found = self.search(variant, sparsity)
                for seed in self.rung.seeds:
                    runs.append(self.result(variant, sparsity, seed, found["chosen"]))
        row = next((row for row in published_rows() if row.task == self.task), None)
        return {
            "label": row.task_label if row is not None else self.task,
            "metric": self.metric,
            "partial": figures.get("partial"),
            "examples": {split: figures[split]["examples"] for split in ("train", "validation", "evaluation")},
            "teacher": teacher.name,
            "rates": {key: {"held_out": found["held_out"], "chosen": found["chosen"]} for key, found in rates.items()},
            "runs": runs,
        }

    def result(self, variant: str, sparsity: float, seed: int, rate: float) -> dict[str, Any]:
        """One run, for the results."""
        folder = self.model(variant, sparsity, rate, seed)
        if not has_metrics(folder):
            folder = self.model(variant, sparsity, rate, seed, model=True)
        metrics = metrics_of(folder, self.rung.recipe(self.task, seed))
        if variant not in ("dense", "prune_once"):  # others start from these, or learn from them
            drop_model(folder)
        record = read_record(folder)
        assert record is not None
        found: dict[str, Any] = {
            "variant": variant,
            "sparsity": sparsity,
            "seed": seed,
            "rate": rate,
            "metrics": metrics,
            "held_out": self.held_out(folder),
            "zeros": record.results.get("sparsity", 0.0),
            "seconds": record.seconds,
        }
        if variant == "no_lock":
            log = load_log(folder)
            counted = [[entry["step"], entry["sparsity/actual"]] for entry in log if "sparsity/actual" in entry]
            found["zeros_over_steps"] = [[0, sparsity], *counted, [log[-1]["step"], found["zeros"]]]
        return found


def tasks_there(data_dir: Path) -> list[str]:
    """Tasks whose files the folder has, but for those that are no more than a smoke test."""
    found = []
    for task in TASKS:
        try:
            task_config = located(TaskConfig(task_name=task, data_dir=str(data_dir)))
        except DataError as error:
            logging.warning("%s: left out: %s", task, error)
            continue
        if task_config.evaluation is not None:
            found.append(task)
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, required=True, help="folder of the pre-trained models")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the tasks' files")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), help="these only (default: all that are there)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[2e-4, 4e-4, 8e-4], help="grid, ascending, one factor"
    )
    parser.add_argument("--int8_rates", type=float, nargs="+", default=[2e-5, 8e-5], help="grid of quantize")
    parser.add_argument("--extensions", type=int, default=3, help="how often a grid may go on")
    parser.add_argument("--search_once", action="store_true", help="choose rates at the lowest sparsity, for all")
    parser.add_argument("--baselines_at", type=float, nargs="+", help=f"sparsities of {', '.join(ABLATIONS)}")
    parser.add_argument("--steps", type=int, help="of finetune and transfer, instead of the task's epochs")
    parser.add_argument("--int8_steps", type=int, help="of quantize, instead of the task's epochs")
    parser.add_argument("--train_examples", type=int, help="of each task at most; by default all")
    parser.add_argument("--partial", default=None, help="what is cut short, for readers")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], help="KEY=VALUE of every recipe")
    parser.add_argument(
        "--set_of", nargs="+", action="append", default=[], metavar=("TASK", "KEY=VALUE"), help="the same, of one task"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("runs/task_ladder"))
    parser.add_argument("--finished_only", action="store_true", help="leave out variants that are not finished")
    parser.add_argument("--model", default="BERT-tiny", help="the model's name for readers")
    parser.add_argument("--pretraining", default="", help="one sentence on its pre-training, for readers")
    parser.add_argument("--output", type=Path, default=Path("results/task_ladder.json"))
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for, and write one JSON file."""
    arguments = parsed()
    from pruneofa.cli.output import quiet_libraries

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    rung = Rung(
        arguments.pretrained,
        arguments.data_dir,
        arguments.work_dir,
        tuple(arguments.seeds),
        tuple(sorted(arguments.rates)),
        tuple(sorted(arguments.int8_rates)),
        tuple(arguments.overrides),
        arguments.extensions,
        arguments.search_once,
        None if arguments.baselines_at is None else tuple(arguments.baselines_at),
        arguments.steps,
        arguments.int8_steps,
        arguments.train_examples,
        {task: tuple(overrides) for task, *overrides in arguments.set_of},
        arguments.finished_only,
    )
    document: dict[str, Any] = {
        "what": "a sparse pre-trained model on several tasks, beside baselines at equal sparsity and fine-tuning steps",
        **provenance(),
        "model": arguments.model,
        "pretraining": arguments.pretraining,
        "recipe": Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"),
        "overrides": arguments.overrides,
        "overrides_of": rung.overrides_of,
        "seeds": arguments.seeds,
        "rule": RULE.format(
            where="the lowest sparsity" if rung.search_once else "each sparsity",
            what="seeds and sparsities" if rung.search_once else "seeds",
            seed=arguments.seeds[0],
            extended=EXTENDED.format(extensions=rung.extensions) if rung.extensions else NOT_EXTENDED,
        ),
        "partial": arguments.partial,
        "steps": {"task": rung.steps, "int8": rung.int8_steps},
        "tasks": {},
    }
    with tokenised_once():
        for task in arguments.tasks or tasks_there(arguments.data_dir):
            document["tasks"][task] = TaskRun(rung, task).run(arguments.variants)
            write_json(arguments.output, document)
    print(
        json.dumps(
            {
                task: {f"{r['variant']}-{r['sparsity']:g}-{r['seed']}": r["metrics"] for r in found["runs"]}
                for task, found in document["tasks"].items()
            }
        )
    )


if __name__ == "__main__":
    main()

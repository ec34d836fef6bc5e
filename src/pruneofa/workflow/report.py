"""Stage `report`: what a run's folders tell, as one HTML page and one JSON file."""

from pathlib import Path
from typing import Any, Literal

from pruneofa import __version__, machine
from pruneofa.atomic import write_text
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.errors import ConfigurationError
from pruneofa.models.names import MODEL_NAMES
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.reporting.card import model_card
from pruneofa.reporting.data import (
    AnsweredText,
    ModelRow,
    ReportData,
    SpeedRow,
    StageTime,
    TensorSparsity,
    curves_from_log_history,
)
from pruneofa.reporting.html import render_report
from pruneofa.stage_folder import load_log
from pruneofa.workflow.card import card_files, card_task
from pruneofa.workflow.record import StageRecord, read_record
from pruneofa.workflow.stage_list import ON_TASK, STEPS

CARD_NAME = "README.md"
HTML_NAME = "report.html"
JSON_NAME = "report.json"
RECIPE_NAME = "recipe.yaml"
MODEL_NAME = "model.pofa"
_NOTES = (
    "Ratios compare with the encoder's Linear weights in float32. Nominal: 32/bits / (1 - sparsity), the paper's own "
    "figure, which leaves out where the non-zeros are. Real: bytes in the file, index and scales counted.",
    "Accuracy is measured on the evaluation split in float32; the int8 model runs in its fake-quantized form.",
)
_TASK_MODELS = [step.stage.name for step in reversed(STEPS) if {"task_model", "int8_model"} & {*step.provides}]
"""Stages that leave a sparse task model, the last first."""


def write_report(run_dir: Path) -> ReportData:
    """Collect what is known of the run in `run_dir`; write `report.html` and `report.json` there, and the model's card.

    The card, `README.md`, goes beside `model.pofa` and into the folder of the model that this file holds.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    data = collect(run_dir)
    data.save(run_dir / JSON_NAME)
    write_text(run_dir / HTML_NAME, render_report(data))
    if data.rows and (run_dir / MODEL_NAME).exists():
        write_text(run_dir / CARD_NAME, run_card(run_dir, "run", data))
        write_text(result_folder(run_dir) / CARD_NAME, run_card(run_dir, "model", data))
    return data


def collect(run_dir: Path) -> ReportData:
    """What the folders of a run tell; stages that are not there are left out."""
    recipe_path = run_dir / RECIPE_NAME
    if not recipe_path.exists():
        raise ConfigurationError(
            f"{str(run_dir)!r} holds no {RECIPE_NAME}, so it is no run; give the --output_dir of one"
        )
    recipe = load_recipe(str(recipe_path))
    records = _records(run_dir, recipe)
    bench = _results(records, "bench")
    return ReportData(
        title=f"pruneofa run {recipe.name}",
        rows=_rows(records),
        curves=[
            curves_from_log_history(name, load_log(run_dir / name)) for name in records if load_log(run_dir / name)
        ],
        tensors=_tensors(run_dir, records),
        facts=_facts(records),
        stages=[
            StageTime(name, record.seconds, "finished" if record.finished else "broken off")
            for name, record in records.items()
        ],
        recipe_yaml=recipe_path.read_text(encoding="utf-8"),
        notes=[*_NOTES, *bench.get("notes", [])],
        speed=[SpeedRow(**row) for row in bench.get("speed", [])],
        answers=[AnsweredText(**answer) for answer in bench.get("answers", [])],
    )


def _records(run_dir: Path, recipe: Recipe) -> dict[str, StageRecord]:
    """Records of the recipe's stages; what an earlier form of the recipe left in the folder is not part of the run."""
    records = {}
    for step in STEPS:
        record = read_record(run_dir / step.stage.name)
        if record is not None and step.is_asked_for(recipe):
            records[step.stage.name] = record
    return records


def result_folder(run_dir: Path) -> Path:
    """The folder of the run's last task model, which `model.pofa` holds too.

    Raises:
        ConfigurationError: the run has none yet.
    """
    records = _records(run_dir, load_recipe(str(run_dir / RECIPE_NAME)))
    for stage in _TASK_MODELS:
        if stage in records and records[stage].finished:
            return run_dir / stage
    raise ConfigurationError(
        f"{str(run_dir)!r} is the folder of a run that has no finished task model; finish it with `pruneofa run`, or "
        "give the folder of one model"
    )


def run_card(run_dir: Path, place: Literal["run", "model", "upload"], data: ReportData | None = None) -> str:
    """The card of the run's model, the last row of its table.

    Args:
        run_dir: the run's folder.
        place: where the card shall lie: in the run's folder, in the model's, or with both's files in one upload.
        data: what `collect` gives, where it is at hand.

    Raises:
        ConfigurationError: the run has not come so far.
    """
    recipe = load_recipe(str(run_dir / RECIPE_NAME))
    data = data or collect(run_dir)
    if recipe.task is None or not data.rows:
        raise ConfigurationError(
            f"{str(run_dir)!r}: the run's models are not evaluated yet; finish it with `pruneofa run`"
        )
    model_dir = result_folder(run_dir)
    if place == "run":
        files = card_files(model_dir, model_dir.name, list(run_dir.iterdir()))
    elif place == "model":
        files = card_files(model_dir)
    else:
        files = card_files(model_dir, beside=[*model_dir.iterdir(), *_model_file(run_dir)])
    return model_card(
        data.rows[-1],
        base_model=recipe.model.name_or_path,
        files=files,
        task=card_task(recipe.task.task_name, recipe.task.evaluation, data.facts["task"]),
        recipe=f"{recipe.name}, seed {recipe.seed}, pruneofa {__version__}",
        recipe_yaml=data.recipe_yaml,
        baseline=data.rows[0] if len(data.rows) > 1 else None,
        facts=[("Quantization", data.facts["quantization"])] if "quantization" in data.facts else [],
    )


def _model_file(run_dir: Path) -> list[Path]:
    return [file for file in [run_dir / MODEL_NAME] if file.exists()]


def _rows(records: dict[str, StageRecord]) -> list[ModelRow]:
    """One row for each model that was both evaluated and measured."""
    metrics, sizes = _results(records, "evaluate"), _results(records, "compress")
    rows = []
    for name in MODEL_NAMES.values():
        if name in metrics and name in sizes:
            size = sizes[name]
            rows.append(
                ModelRow(
                    name=name,
                    metrics=metrics[name],
                    encoder_sparsity=size["encoder_sparsity"],
                    encoder_parameters=size["encoder_parameters"],
                    bytes_encoder=size["bytes_encoder"],
                    bytes_total=size["bytes_total"],
                    nominal_ratio=size["nominal_ratio"],
                    real_ratio=size["real_ratio"],
                    file=size["file"],
                )
            )
    return rows


def _results(records: dict[str, StageRecord], stage: str) -> dict[str, Any]:
    """What a stage reported; nothing before it is finished."""
    record = records.get(stage)
    return record.results if record is not None and record.finished else {}


def _tensors(run_dir: Path, records: dict[str, StageRecord]) -> list[TensorSparsity]:
    """Sparsity of every encoder and pooler tensor of the last sparse model."""
    for stage in (*_TASK_MODELS, "prune"):
        if _results(records, stage):
            tensors = inspect_model(run_dir / stage).as_dict()["tensors"]
            return [
                TensorSparsity(t["name"], tuple(t["shape"]), t["nonzero"], t["size"], t["sparsity"])
                for t in tensors
                if t["role"] in ("encoder", "pooler")
            ]
    return []


def _facts(records: dict[str, StageRecord]) -> dict[str, str]:
    facts = {**machine.describe(), "pruneofa": __version__, **machine.package_versions()}
    if corpus := _results(records, "corpus"):
        train = corpus["train"]
        facts["corpus"] = f"{train['documents']:,} documents, {train['tokens']:,} tokens for training"
    for stage in ON_TASK:
        if "task" in (results := _results(records, stage)):
            task = results["task"]
            facts["task"] = (
                f"{task['train']['examples']:,} training, {task['evaluation']['examples']:,} evaluation examples"
            )
    if "quantization" in (results := _results(records, "quantize")):
        facts["quantization"] = results["quantization"]["text"]
    return facts

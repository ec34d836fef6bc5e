"""Stage `report`: what a run's folders tell, as one HTML page and one JSON file."""

from pathlib import Path
from typing import Any

import yaml

from pruneofa import __version__, machine
from pruneofa.atomic import write_text
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.errors import ConfigurationError
from pruneofa.reporting.card import model_card
from pruneofa.reporting.data import ModelRow, ReportData, StageTime, TensorSparsity, curves_from_log_history
from pruneofa.reporting.html import render_report
from pruneofa.stages.evaluate import MODEL_NAMES
from pruneofa.stages.models import load_log
from pruneofa.stages.record import StageRecord, read_record

CARD_NAME = "README.md"
HTML_NAME = "report.html"
JSON_NAME = "report.json"
_STAGES = ("corpus", "teach", "prune", "finetune", "transfer", "quantize", "evaluate", "compress")


def write_report(run_dir: Path) -> ReportData:
    """Collect what is known of the run in `run_dir`; write `report.html`, `report.json` and the model's card there.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    data = collect(run_dir)
    data.save(run_dir / JSON_NAME)
    write_text(run_dir / HTML_NAME, render_report(data))
    if data.rows and (run_dir / "model.pofa").exists():
        write_text(run_dir / CARD_NAME, _card(run_dir, data))
    return data


def collect(run_dir: Path) -> ReportData:
    """What the folders of a run tell; stages that are not there are left out."""
    recipe_path = run_dir / "recipe.yaml"
    if not recipe_path.exists():
        raise ConfigurationError(
            f"{str(run_dir)!r} holds no recipe.yaml, so it is no run; give the --output_dir of one"
        )
    records = {name: record for name in _STAGES if (record := read_record(run_dir / name)) is not None}
    recipe_yaml = recipe_path.read_text(encoding="utf-8")
    return ReportData(
        title=f"pruneofa run {recipe_yaml.partition('name: ')[2].partition(chr(10))[0]}",
        rows=_rows(records),
        curves=[
            curves_from_log_history(name, load_log(run_dir / name)) for name in records if load_log(run_dir / name)
        ],
        tensors=_tensors(run_dir),
        facts=_facts(records),
        stages=[
            StageTime(name, record.seconds, "finished" if record.finished else "broken off")
            for name, record in records.items()
        ],
        recipe_yaml=recipe_yaml,
        notes=_notes(records),
    )


def _card(run_dir: Path, data: ReportData) -> str:
    """The card of the run's `model.pofa`, which is the last row of its table."""
    recipe = yaml.safe_load((run_dir / "recipe.yaml").read_text(encoding="utf-8"))
    return model_card(
        data.rows[-1],
        base_model=recipe["model"]["name_or_path"],
        auto_class="AutoModelForSequenceClassification",
        task=f"{recipe['task']['task_name']}: {data.facts['task']}",
        recipe=recipe["name"],
        baseline=data.rows[0] if len(data.rows) > 1 else None,
        compressed_file="model.pofa",
    )


def _rows(records: dict[str, StageRecord]) -> list[ModelRow]:
    """One row for each model that was both evaluated and measured."""
    metrics = records["evaluate"].results if "evaluate" in records else {}
    sizes = records["compress"].results if "compress" in records else {}
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


def _tensors(run_dir: Path) -> list[TensorSparsity]:
    """Sparsity of every encoder and pooler tensor of the last sparse model."""
    for stage in ("quantize", "transfer", "prune"):
        folder = run_dir / stage
        record = read_record(folder)
        if record is not None and record.finished:
            tensors = inspect_model(folder).as_dict()["tensors"]
            return [
                TensorSparsity(t["name"], tuple(t["shape"]), t["nonzero"], t["size"], t["sparsity"])
                for t in tensors
                if t["role"] in ("encoder", "pooler")
            ]
    return []


def _facts(records: dict[str, StageRecord]) -> dict[str, str]:
    facts = {**machine.describe(), "pruneofa": __version__, **machine.package_versions()}
    if "corpus" in records:
        statistics: dict[str, Any] = records["corpus"].results["train"]
        facts["corpus"] = f"{statistics['documents']:,} documents, {statistics['tokens']:,} tokens for training"
    for stage in ("finetune", "transfer"):
        if stage in records and "task" in records[stage].results:
            task = records[stage].results["task"]
            facts["task"] = (
                f"{task['train']['examples']:,} training, {task['evaluation']['examples']:,} evaluation examples"
            )
    return facts


def _notes(records: dict[str, StageRecord]) -> list[str]:
    return [
        "Ratios compare with the encoder's Linear weights in float32. Nominal: 32/bits / (1 - sparsity), the paper's "
        "own figure, which leaves out where the non-zeros are. Real: bytes in the file, index and scales counted.",
        "Accuracy is measured on the evaluation split in float32; the int8 model runs in its fake-quantized form.",
    ]

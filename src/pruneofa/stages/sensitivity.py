"""Which modules of a task model suffer from quantization (`pruneofa quantize --sensitivity`)."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneofa.atomic import write_json
from pruneofa.data.tasks.calibration import sample_batches
from pruneofa.log_lines import LogLines
from pruneofa.recipe.document import Recipe
from pruneofa.reporting.sensitivity import write_sensitivity_pictures
from pruneofa.stages.quantize import prepare_calibrated
from pruneofa.training.sections import QuantizeSection

logger = logging.getLogger(__name__)

JSON_NAME = "sensitivity.json"
PICTURE_NAMES = ("sensitivity.svg", "sensitivity.png")


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Calibrate `inputs["task_model"]` and rank its modules; leaves JSON and pictures, no model.

    Ranges come from the recipe's calibration texts, answers are compared on as many others of the same source.
    """
    from pruneofa.quantization.sensitivity import measure_sensitivity
    from pruneofa.quantization.summary import describe_config

    section = recipe.quantize or QuantizeSection()
    calibrated = prepare_calibrated(recipe, section, inputs["task_model"])
    texts = section.calibration
    targets = () if texts.source is not None else ("labels",)
    dataset, pad = calibrated.dataset, calibrated.tokenizer.pad_token_id
    batches = sample_batches(dataset, texts.examples, texts.batch_size, pad, recipe.seed + 1, targets=targets)
    progress = LogLines(logger, "sensitivity", "modules")
    rows = [dataclasses.asdict(row) for row in measure_sensitivity(calibrated.model, batches, progress=progress)]
    examples = sum(len(batch["input_ids"]) for batch in batches)
    facts = {"scheme": describe_config(section.quantization), "examples": examples, "modules": rows}
    write_json(output_dir / JSON_NAME, facts)
    write_sensitivity_pictures(rows, *(output_dir / name for name in PICTURE_NAMES))
    return facts

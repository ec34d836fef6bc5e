"""Stage `quantize`: a sparse task model to int8, by training with rounding or by calibration alone."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruneofa.architectures.linears import encoder_linears
from pruneofa.architectures.matching import match_modules
from pruneofa.architectures.positions import longest_sequence
from pruneofa.data.tasks.calibration import read_texts, sample_batches
from pruneofa.models.loading import load_config, load_model, load_tokenizer, model_class
from pruneofa.models.opened import open_model
from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.models.sentence_files import carry_sentence_files
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.ranks import on_first
from pruneofa.recipe.document import Recipe, required_task
from pruneofa.sparsity.lock import lock_pattern
from pruneofa.stage_folder import save_log
from pruneofa.training.run import TrainingRun
from pruneofa.training.sections import QuantizeSection
from pruneofa.training.tasks import load_task_model, train_on_task, validation_metrics

if TYPE_CHECKING:
    from pruneofa.quantization.answers import QuantizationCost

logger = logging.getLogger(__name__)

# Share of changed answers (or lacking correlation) from which a warning is due. Training changes some that rounding
# does not.
_CHANGED_BY_ROUNDING = 0.05
_CHANGED_BY_TRAINING = 0.1


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Leave `inputs["task_model"]` on its int8 grid, as `recipe.quantize.method` says (PruneOFA, section 4)."""
    section = recipe.quantize or QuantizeSection()
    if section.method == "calibration":
        return _calibrated(recipe, section, inputs, output_dir)
    return _trained(recipe, section, inputs, output_dir)


def _trained(recipe: Recipe, section: QuantizeSection, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """Quantization-aware training, zeros locked, teacher on."""
    from transformers import set_seed

    from pruneofa.quantization.answers import float_answers
    from pruneofa.quantization.calibration import calibrate
    from pruneofa.quantization.qat import convert, prepare_qat

    task = required_task(recipe)
    set_seed(recipe.seed)
    tokenizer, model, data = load_task_model(inputs["task_model"], task, head_is_trained=True)
    lock = lock_pattern(model)
    compared = _compared_batches(recipe, section, data.validation or data.train, tokenizer.pad_token_id)
    before = float_answers(model, compared)
    scheme = _with_steps(recipe, section, model, data.train, tokenizer.pad_token_id)
    prepare_qat(model, scheme)
    if section.quantization.needs_calibration:
        texts, pad, limit = section.calibration, tokenizer.pad_token_id, longest_sequence(model)
        dataset = data.train if texts.source is None else read_texts(texts.source, task, tokenizer, limit)
        calibrate(model, sample_batches(dataset, texts.examples, texts.batch_size, pad, recipe.seed))
    log = train_on_task(
        section,
        TrainingRun.of_stage("quantize", output_dir, recipe.seed, inputs.get("checkpoint")),
        model,
        data,
        task,
        tokenizer.pad_token_id,
        teacher=inputs.get("task_teacher"),
        pruner=lock,
    )
    cost = _cost(model, before, compared, _CHANGED_BY_TRAINING)
    state = convert(model)
    save_log(log, output_dir)
    method = f"quantization-aware training, {log[-1]['step']} steps"
    found = validation_metrics(log)
    return {
        "sparsity": lock.sparsity,
        **_save(recipe, inputs, output_dir, tokenizer, model, state, method, cost),
        **({"validation": found} if found else {}),
    }


def _calibrated(
    recipe: Recipe, section: QuantizeSection, inputs: Mapping[str, str], output_dir: Path
) -> dict[str, Any]:
    """Ranges from a few hundred texts; weights are rounded as they are."""
    from pruneofa.quantization.qat import convert

    calibrated = prepare_calibrated(recipe, section, inputs["task_model"], compare=True)
    tokenizer, model = calibrated.tokenizer, calibrated.model
    weights = [linear.weight for linear in encoder_linears(model).values()]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    state = convert(model)
    method = f"calibration on {calibrated.examples} texts"
    return {
        "sparsity": zeros / sum(weight.numel() for weight in weights),
        **_save(recipe, inputs, output_dir, tokenizer, model, state, method, calibrated.cost),
    }


@dataclass(frozen=True)
class Calibrated:
    """A task model with fake quantization and its ranges.

    Attributes:
        tokenizer: of the model.
        model: prepared; its ranges were found on the texts that the recipe names.
        dataset: the tokenised examples that these were drawn from.
        examples: how many were used.
        cost: int8 beside float on as many examples, most of them others where there are enough; None if not asked for.
    """

    tokenizer: Any
    model: Any
    dataset: Any
    examples: int
    cost: "QuantizationCost | None"


def prepare_calibrated(
    recipe: Recipe, section: QuantizeSection, model_path: str, *, compare: bool = False
) -> Calibrated:
    """Find the ranges of a task model on the texts that the recipe names.

    Raises:
        ConfigurationError, CheckpointError, DataError: the model or the texts can't be used.
    """
    from pruneofa.quantization.answers import float_answers
    from pruneofa.quantization.calibration import calibrate
    from pruneofa.quantization.qat import prepare_qat

    texts = section.calibration
    if texts.source is None:
        tokenizer, model, data = load_task_model(model_path, required_task(recipe), head_is_trained=True)
        dataset: Any = data.train
    else:
        tokenizer, config = load_tokenizer(model_path), load_config(model_path)
        dataset = read_texts(texts.source, recipe.task, tokenizer, longest_sequence(config))
        model = load_model(model_class(config), model_path, head_is_trained=True)
    compared = _compared_batches(recipe, section, dataset, tokenizer.pad_token_id) if compare else []
    before = float_answers(model, compared)
    prepare_qat(model, _with_steps(recipe, section, model, dataset, tokenizer.pad_token_id))
    batches = sample_batches(dataset, texts.examples, texts.batch_size, tokenizer.pad_token_id, recipe.seed)
    calibrate(model, batches)
    cost = _cost(model, before, compared, _CHANGED_BY_ROUNDING) if compare else None
    return Calibrated(tokenizer, model, dataset, min(texts.examples, len(dataset)), cost)


def _compared_batches(recipe: Recipe, section: QuantizeSection, dataset: Any, pad_token_id: int) -> list[Any]:
    """Examples that float and int8 are compared on; of enough, most are others than the ranges come from."""
    texts = section.calibration
    return sample_batches(dataset, texts.examples, texts.batch_size, pad_token_id, recipe.seed + 1)


def _cost(model: Any, before: list[Any], batches: list[Any], allowed: float) -> "QuantizationCost":
    """The prepared model beside the float one, with a loud warning where more than `allowed` changed."""
    from pruneofa.quantization.answers import cost_between, float_answers

    several = getattr(model.config, "problem_type", None) == "multi_label_classification"
    cost = cost_between(before, float_answers(model, batches), several_labels=several)
    if not cost.agreement >= 1 - allowed:
        logger.warning(
            "QUANTIZATION CHANGES WHAT THE MODEL ANSWERS: %s. Evaluate the int8 model before it is used; `pruneofa "
            "quantize --sensitivity` ranks its modules by what each costs: leave the worst in float "
            "(quantize.quantization.ignore), choose another activation_range, or train with rounding",
            cost.text,
        )
    return cost


def _with_steps(
    recipe: Recipe, section: QuantizeSection, model: Any, dataset: Any, pad_token_id: int
) -> QuantizationConfig:
    """The settings, with a step for each encoder weight where `value_bits` asks for it; named steps stay."""
    from pruneofa.quantization.steps import choose_steps

    scheme = section.quantization
    if section.value_bits is None:
        return scheme
    linears = encoder_linears(model)
    named = match_modules(linears, scheme.targets, [*scheme.ignore, *scheme.weight_steps])
    texts = section.calibration
    batches = sample_batches(dataset, texts.examples, texts.batch_size, pad_token_id, recipe.seed)
    steps = choose_steps(model, {name: linears[name] for name in named}, scheme, batches, section.value_bits)
    return scheme.model_copy(update={"weight_steps": {**scheme.weight_steps, **steps}})


def _save(
    recipe: Recipe,
    inputs: Mapping[str, str],
    output_dir: Path,
    tokenizer: Any,
    model: Any,
    state: QuantizedState,
    method: str,
    cost: "QuantizationCost | None",
) -> dict[str, Any]:
    """Save the int8 model; returns what was done, for the record."""
    from pruneofa.quantization.summary import summarize

    summary = summarize(state, method, cost)
    extra = {
        "base_model": inputs["task_model"],
        **manifest_extra(inputs["task_model"]),
        "recipe": recipe.name,
        "quantization": summary["text"],
    }
    save_model(model, tokenizer, output_dir, stage="quantize", quantized=state, extra=extra)
    on_first(lambda: carry_sentence_files(open_model(inputs["task_model"]), output_dir))
    return {"quantization": summary}

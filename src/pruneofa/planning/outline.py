"""What a recipe would do, without its weights and data: the architecture, what is pruned of it, and the schedule."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import CheckpointError
from pruneofa.planning.sizes import recipe_config
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.schedule import is_update, sparsity_at
from pruneofa.sparsity.targets import target_modules
from pruneofa.training.config import TrainingConfig
from pruneofa.training.rewinding import REWINDING_SCHEDULES, multiplier_of
from pruneofa.workflow.stage_list import TRAINING


@dataclass(frozen=True)
class PlannedStage:
    """One stage: its name, and its length, batch, rate and so on in words."""

    name: str
    what: str


@dataclass(frozen=True)
class Moment:
    """What holds after `step` optimizer steps of pruning: the sparsity wanted, and the learning rate."""

    step: int
    sparsity: float
    learning_rate: float


@dataclass(frozen=True)
class Outline:
    """What a recipe would do.

    Attributes:
        recipe: its name.
        model: the dense model's name, and its architecture's class.
        parameters: of the encoder, embeddings and pooler included.
        encoder_weights, encoder_tensors: of the Linear layers in the transformer layers.
        pooler_weights: of the pooler's Linear.
        pruned_weights: how many will be zero in the end; None where nothing is pruned here.
        reselections: how often the masks are selected.
        moments: the schedule of sparsity and rate at some steps; empty where nothing is pruned in pre-training.
        stages: in order.
    """

    recipe: str
    model: str
    parameters: int
    encoder_weights: int
    encoder_tensors: int
    pooler_weights: int
    pruned_weights: int | None
    reselections: int
    moments: list[Moment]
    stages: list[PlannedStage]


def outline(recipe: Recipe) -> Outline:
    """Build the recipe's architecture at full size without memory for its weights, and work out its schedule.

    Raises:
        ConfigurationError: the architecture is of no known form, or a pattern matches none of its modules.
        CheckpointError: the recipe names no architecture and the model's config can't be read.
    """
    model = _architecture(recipe)
    encoder, pooler = encoder_linears(model), pooler_linears(model)
    sparsity = recipe.prune.sparsity if recipe.prune is not None else None
    pruned, moments, reselections = None, [], 0
    if sparsity is not None:
        assert recipe.prune is not None
        pruned = _pruned(model, sparsity)
        moments = _moments(sparsity, recipe.prune.training)
        reselections = sum(is_update(step, sparsity) for step in range(sparsity.last_update + 1))
    return Outline(
        recipe=recipe.name,
        model=f"{recipe.model.name_or_path} ({type(model).__name__})",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        encoder_weights=sum(linear.weight.numel() for linear in encoder.values()),
        encoder_tensors=len(encoder),
        pooler_weights=sum(linear.weight.numel() for linear in pooler.values()),
        pruned_weights=pruned,
        reselections=reselections,
        moments=moments,
        stages=_stages(recipe),
    )


def _architecture(recipe: Recipe) -> Any:
    import torch
    from transformers import AutoModel

    config = recipe_config(recipe)
    try:
        with torch.device("meta"):
            return AutoModel.from_config(config)
    except ValueError as error:
        raise CheckpointError(
            f"model {recipe.model.name_or_path!r}: no encoder can be built from its config: {error}"
        ) from error


def _pruned(model: Any, sparsity: SparsityConfig) -> int:
    """How many weights go, each tensor's share rounded down (or that of all together)."""
    sizes = [model.get_submodule(name).weight.numel() for name in target_modules(model, sparsity)]
    if sparsity.scope == "global":
        return prune_count(sparsity.target_sparsity, sum(sizes))
    return sum(prune_count(sparsity.target_sparsity, size) for size in sizes)


def _moments(sparsity: SparsityConfig, training: TrainingConfig) -> list[Moment]:
    """The schedule at its turning points and some steps between them."""
    begin, end = sparsity.begin_step, sparsity.end_step
    last = training.max_steps or max(1, sparsity.last_update)
    ramp = (begin + round((end - begin) * share) for share in (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0))
    rest = (sparsity.last_update, (sparsity.last_update + last) // 2, last)
    steps = sorted({step for step in (*ramp, *rest) if step <= last})
    return [Moment(step, sparsity_at(step, sparsity), _rate(step, last, sparsity, training)) for step in steps]


def _rate(step: int, total: int, sparsity: SparsityConfig, training: TrainingConfig) -> float:
    """The rate of the step that is taken after `step` ones."""
    warmup = math.ceil(training.warmup_ratio * total)
    if training.lr_scheduler_type in REWINDING_SCHEDULES:
        factor = multiplier_of(
            training.lr_scheduler_type,
            step,
            total_steps=total,
            warmup_steps=warmup,
            begin_step=sparsity.begin_step,
            end_step=sparsity.end_step,
            interval=sparsity.update_every,
        )
    elif step < warmup:
        factor = step / warmup
    else:
        done = (step - warmup) / max(1, total - warmup)
        shapes = {"linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done)), "constant_with_warmup": 1.0}
        factor = shapes[training.lr_scheduler_type]
    return training.learning_rate * factor


def _stages(recipe: Recipe) -> list[PlannedStage]:
    stages = []
    if recipe.corpus is not None:
        stages.append(PlannedStage("corpus", f"{_joined(recipe.corpus.source)}, {recipe.corpus.max_length} tokens"))
    for name in TRAINING:
        section = getattr(recipe, name)
        if section is None:
            continue
        words = [_training(section.training)]
        if getattr(section, "seeds", None):
            words.append(f"best of the seeds {', '.join(map(str, section.seeds))}")
        if (distillation := getattr(section, "distillation", None)) is not None:
            words.append(f"distillation {distillation.hardness:g} at T = {distillation.temperature:g}")
        stages.append(PlannedStage(name, ", ".join(words)))
    if recipe.task is not None:
        evaluated = f"{recipe.task.task_name}: {_sources(recipe.task)}, {recipe.task.max_length} tokens"
        stages.append(PlannedStage("evaluate", evaluated))
    if recipe.bench is not None:
        shapes = f"{_listed(recipe.bench.batches)} x {_listed(recipe.bench.lengths)} tokens"
        beside = f", beside {', '.join(recipe.bench.peers)}" if recipe.bench.peers else ""
        stages.append(PlannedStage("bench", f"{shapes}, {_listed(recipe.bench.threads)} threads{beside}"))
    return stages


def _sources(task: TaskConfig) -> str:
    """Where a task's examples come from, and what is held out of them."""
    if task.data_dir is not None:
        return task.data_dir
    train, evaluation = (_joined(source) for source in (task.train, task.evaluation))
    if task.evaluation is None:
        return f"{train}, of which {100 * (task.evaluation_fraction or 0):g} % are held out to report on"
    return f"{train} and {evaluation}"


def _joined(source: str | list[str] | None) -> str:
    return source if isinstance(source, str) else ", ".join(source or ())


def _listed(numbers: Iterable[int]) -> str:
    return "/".join(map(str, numbers))


def _training(training: TrainingConfig) -> str:
    length = f"{training.max_steps:,} steps" if training.max_steps else f"{training.num_train_epochs or 3:g} epochs"
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    warmup = f", warm-up {100 * training.warmup_ratio:g} %" if training.warmup_ratio else ""
    return f"{length} of {batch}, rate {training.learning_rate:g} {training.lr_scheduler_type}{warmup}"

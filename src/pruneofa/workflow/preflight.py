"""What can be known to be wrong before a long run begins: all of it is reported at once, and nothing is written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.data.sources.reading import is_read_later, read_rows
from pruneofa.data.sources.rows import optional_text
from pruneofa.data.tasks.checks import check_sources
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.data.tokenization import check_max_length
from pruneofa.errors import ConfigurationError, PruneofaError
from pruneofa.models.loading import load_config, load_tokenizer
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.sparsity.targets import target_modules
from pruneofa.stages.finetune import check_can_choose
from pruneofa.training.config import TrainingConfig
from pruneofa.training.packed import check_packing
from pruneofa.training.pretraining import check_reaches_target, pretraining_class
from pruneofa.training.rewinding import REWINDING_SCHEDULES
from pruneofa.training.tasks import check_can_evaluate
from pruneofa.training.trackers import check_trackers
from pruneofa.workflow.stage_list import ON_CORPUS, ON_TASK, TRAINING


def check_run(recipe: Recipe) -> None:
    """Check a recipe against itself, its model and its data, as far as that is quick.

    Raises:
        ConfigurationError: sections contradict each other, or one of the faults is of this kind.
        CheckpointError: the model is missing or damaged.
        DataError: a source is missing or empty, or lacks a column; a length is more than the model takes.
    """
    found: list[PruneofaError] = []
    for check in (_sections, _schedules, _model, _pruning, _sources):
        found += check(recipe)
    if not found:
        return
    kind = ConfigurationError if any(isinstance(fault, ConfigurationError) for fault in found) else type(found[0])
    if len(found) == 1:
        raise kind(str(found[0])) from found[0]
    lines = "\n".join(f"  {fault}" for fault in found)
    raise kind(f"recipe {recipe.name}: {len(found)} faults\n{lines}")


def _sections(recipe: Recipe) -> Iterator[PruneofaError]:
    """Sections that need another one."""
    for name in ON_CORPUS:
        if getattr(recipe, name) is not None and recipe.corpus is None:
            yield ConfigurationError(f"{name}: needs the section corpus; add it, or set {name} to null")
    for name in ON_TASK:
        section = getattr(recipe, name)
        trains = getattr(section, "method", "qat") == "qat"
        has_texts = not trains and section.calibration.source is not None
        if section is not None and recipe.task is None and not has_texts:
            yield ConfigurationError(f"{name}: needs the section task; add it, or set {name} to null")
        distils = trains and getattr(section, "distillation", None) is not None
        if distils and recipe.finetune is None:
            yield ConfigurationError(
                f"{name}.distillation: is on, but without the section finetune there is no teacher; add that section, "
                f"or set {name}.distillation to null"
            )
    if recipe.bench is not None and (recipe.task is None or recipe.transfer is None):
        yield ConfigurationError(
            "bench: times a sparse task model; add the sections task and transfer, or set bench to null"
        )
    if recipe.quantize is not None and recipe.transfer is None and recipe.prune_embedder is None:
        yield ConfigurationError(
            "quantize: needs the section transfer, or prune_embedder; add it, or set quantize to null"
        )
    if recipe.one_shot is not None and recipe.corpus is None:
        yield ConfigurationError("one_shot: needs the section corpus; add it, or set one_shot to null")
    if recipe.prune_embedder is not None and recipe.task is not None:
        yield ConfigurationError("prune_embedder: makes a sentence encoder, which learns no task; set task to null")
    if recipe.teach and recipe.transfer and not recipe.prune and not recipe.transfer.sparsity:
        yield ConfigurationError(
            "transfer: has no sparse model, since nothing is pruned; add the section prune, or transfer.sparsity"
        )
    if recipe.task is not None:
        for name in ON_TASK:
            section = getattr(recipe, name)
            if section is not None:
                yield from _fault_of(check_can_evaluate, name, section.training, recipe.task)
        if recipe.finetune is not None:
            yield from _fault_of(check_can_choose, recipe.finetune, recipe.task)


def _schedules(recipe: Recipe) -> Iterator[PruneofaError]:
    for name, training, sparsity in _trainings(recipe):
        if training.lr_scheduler_type in REWINDING_SCHEDULES and sparsity is None:
            yield ConfigurationError(
                f"{name}.training.lr_scheduler_type: is {training.lr_scheduler_type!r}, which follows pruning, but "
                "nothing is pruned in this stage; choose linear, cosine or constant_with_warmup"
            )
        if sparsity is not None:
            yield from _fault_of(check_reaches_target, name, sparsity, training)
        if training.batching == "packed":
            distillation = getattr(getattr(recipe, name), "distillation", None)
            yield from _fault_of(check_packing, name, takes_packed=name in ON_CORPUS, distillation=distillation)
        for fault in _fault_of(check_trackers, training.report_to):
            yield type(fault)(f"{name}.training.{fault}")


def _trainings(recipe: Recipe) -> Iterator[tuple[str, TrainingConfig, SparsityConfig | None]]:
    """Name, training and sparsity of every section that trains."""
    for name in TRAINING:
        section = getattr(recipe, name)
        if section is not None:
            yield name, section.training, getattr(section, "sparsity", None)


def _model(recipe: Recipe) -> Iterator[PruneofaError]:
    """The model's files, and lengths that it does not take."""
    try:
        config = load_config(recipe.model.name_or_path)
        limit = longest_sequence(config)
        load_tokenizer(recipe.model.name_or_path)
        if not recipe.model.name_or_path.endswith(".pofa"):  # whose structure is checked when it is opened
            folder = Path(resolve_model(recipe.model.name_or_path))
            if folder.is_dir() and not any(folder.glob("pytorch_model*.bin")):
                ModelFolder(folder)
        if recipe.model.sparse_name_or_path is not None:
            load_config(recipe.model.sparse_name_or_path)
    except PruneofaError as error:
        yield error
        return
    for key, value in (recipe.model.architecture or {}).items():
        if getattr(config, key, None) != value:
            yield ConfigurationError(
                f"model.architecture.{key}: is {value!r}, but {recipe.model.name_or_path!r} has "
                f"{getattr(config, key, None)!r}; give the model that the recipe is for, or set model.architecture to "
                "null"
            )
    if recipe.teach is not None or recipe.prune is not None:
        yield from _fault_of(pretraining_class, config, pairs=_has_pairs(recipe))
    for name, section in (("corpus", recipe.corpus), ("task", recipe.task)):
        if section is not None:
            given = section.given_length() if isinstance(section, TaskConfig) else section.max_length
            for fault in _fault_of(check_max_length, given or 0, limit):
                yield type(fault)(f"{name}.{fault}")


def _pruning(recipe: Recipe) -> Iterator[PruneofaError]:
    """Patterns that match no module, found on the architecture alone, without memory for its weights."""
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    for name, _, sparsity in _trainings(recipe):
        if sparsity is None:
            continue
        try:
            config = load_config(recipe.model.name_or_path)
            pairs = _has_pairs(recipe)
            if name == "prune_embedder":
                auto_class: Any = AutoModel
            elif name in ON_CORPUS:
                auto_class = pretraining_class(config, pairs=pairs)
            else:
                auto_class = AutoModelForSequenceClassification
            with torch.device("meta"):
                model = auto_class.from_config(config)
        except (PruneofaError, ValueError):
            return  # what is wrong with the model is told by `_model`, or by the stage that loads it
        for fault in _fault_of(target_modules, model, sparsity):
            yield type(fault)(f"{name}.sparsity.{fault}")


def _has_pairs(recipe: Recipe) -> bool:
    """Whether the corpus is one of segment pairs, for models with a next-sentence head."""
    return recipe.corpus is not None and recipe.corpus.form == "pairs"


def _sources(recipe: Recipe) -> Iterator[PruneofaError]:
    """Sources that are missing or empty, columns that they lack, and faults of the task's rows."""
    if recipe.corpus is not None:
        column = recipe.corpus.text_column
        drop = recipe.corpus.on_error == "drop"
        yield from _fault_of(_check_texts, "corpus.source", recipe.corpus.source, column, drop=drop)
    if recipe.task is not None:
        task = recipe.task
        yield from _fault_of(lambda: check_sources(located(task)))
    if recipe.quantize is not None and (source := recipe.quantize.calibration.source) is not None:
        column = (recipe.task.text_column if recipe.task is not None else None) or "text"
        yield from _fault_of(_check_texts, "quantize.calibration.source", source, column)


def _check_texts(key: str, source: str | list[str], column: str, *, drop: bool = False) -> None:
    """Open every item of a source that a key names; of a file look at the first row, unless faulty ones are dropped."""
    for item in _items(source):
        try:
            rows = read_rows(item)
            if not is_read_later(item) and not drop:
                optional_text(next(rows), column)
        except PruneofaError as error:
            raise type(error)(f"{key}: {error}") from error


def _items(source: str | list[str]) -> list[str]:
    return [source] if isinstance(source, str) else source


def _fault_of(check: Callable[..., Any], *arguments: Any, **settings: Any) -> list[PruneofaError]:
    try:
        check(*arguments, **settings)
    except PruneofaError as error:
        return [error]
    return []

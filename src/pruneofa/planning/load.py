"""What a stage of a recipe has to compute: steps, sequences, tokens, predictions, teachers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pruneofa.data.pretraining.corpus import CorpusConfig
from pruneofa.distillation.config import DistillationConfig
from pruneofa.errors import ConfigurationError
from pruneofa.planning.sizes import Head, ModelSizes, model_sizes
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.training.config import TrainingConfig
from pruneofa.workflow.stage_list import ON_CORPUS, TRAINING


@dataclass(frozen=True)
class Lengths:
    """Lengths of a stage's sequences in tokens.

    Attributes:
        mean: of all.
        mean_square: mean of their squares, which attention's cost follows.
        longest: of all; memory follows it.
    """

    mean: float
    mean_square: float
    longest: int

    @classmethod
    def full(cls, longest: int) -> "Lengths":
        """All are as long as they may be."""
        return cls(float(longest), float(longest) ** 2, longest)

    @classmethod
    def counted(cls, histogram: Sequence[int]) -> "Lengths":
        """From the number of sequences of 0, 1, 2 ... tokens."""
        count = sum(histogram)
        return cls(
            sum(length * number for length, number in enumerate(histogram)) / count,
            sum(length**2 * number for length, number in enumerate(histogram)) / count,
            max(length for length, number in enumerate(histogram) if number),
        )

    @classmethod
    def of_corpus(cls, corpus: CorpusConfig) -> "Lengths":
        """As the settings promise: full, but for those that are made shorter, to a uniformly random length."""
        length = corpus.max_length
        share = 0.0 if corpus.form == "blocks" else corpus.short_sequence_probability
        return cls(length * (1.0 - share / 2.0), length**2 * (1.0 - share * 2.0 / 3.0), length)


@dataclass(frozen=True)
class StageLoad:
    """The work of one stage.

    Attributes:
        stage: its name.
        training: its settings.
        steps: optimizer steps.
        sequences: of a step, over all devices.
        batch: sequences of a batch on one device.
        lengths: of the sequences.
        predicted: share of the tokens that the student's head predicts, and the teacher's.
        student: the model that is trained.
        teacher: the model that runs along without gradients, if any.
        taught_once: sequences that the teacher sees once, before training.
        sparsity: what is pruned, if anything is.
        locked: whether masks hold a pattern that is there already.
        keeps_states: whether all layers' hidden states are learned from.
    """

    stage: str
    training: TrainingConfig
    steps: int
    sequences: int
    batch: int
    lengths: Lengths
    predicted: float
    student: ModelSizes
    teacher: ModelSizes | None = None
    taught_once: int = 0
    sparsity: SparsityConfig | None = None
    locked: bool = False
    keeps_states: bool = False

    @property
    def tokens(self) -> float:
        """Tokens of the whole stage."""
        return self.steps * self.sequences * self.lengths.mean

    @property
    def accumulation(self) -> int:
        """Batches of a step on one device alone."""
        return self.sequences // self.batch

    def on(self, devices: int) -> "StageLoad":
        """The same on several devices, the sequences of a step shared out; `batch` as large as that allows.

        Raises:
            ConfigurationError: they can't be shared out evenly.
        """
        if self.sequences % devices:
            raise ConfigurationError(
                f"--devices is {devices}, which does not divide the {self.sequences} sequences of a step of "
                f"{self.stage} (per_device_train_batch_size x gradient_accumulation_steps); choose a divisor of it, "
                "or change the batch with --set"
            )
        share = self.sequences // devices
        batch = max(size for size in range(1, min(share, self.batch) + 1) if share % size == 0)
        return replace(self, batch=batch)


def loads(
    recipe: Recipe,
    config: Any,
    *,
    corpus_lengths: Lengths | None = None,
    corpus_examples: int | None = None,
    task_examples: int | None = None,
) -> tuple[list[StageLoad], dict[str, str]]:
    """The work of every stage that trains, and why nothing can be said of the others.

    Args:
        recipe: whose stages.
        config: the dense model's, of transformers.
        corpus_lengths: of the corpus's examples (default: as its settings promise).
        corpus_examples: how many there are.
        task_examples: training examples of the task.
    """
    found, left_out = [], {}
    for stage in TRAINING:
        section = getattr(recipe, stage)
        if section is None:
            continue
        if stage == "quantize" and section.method != "qat":
            left_out[stage] = "it does not train"
            continue
        try:
            if stage in ON_CORPUS:
                if recipe.corpus is None:
                    raise ConfigurationError(f"{stage}: needs the section corpus, which tells how long examples are")
                lengths = corpus_lengths or Lengths.of_corpus(recipe.corpus)
                found.append(_pretraining_load(recipe, stage, config, lengths, corpus_examples))
            else:
                if recipe.task is None:
                    raise ConfigurationError(f"{stage}: needs the section task")
                lengths = Lengths.full(recipe.task.max_length)
                found.append(_task_load(recipe, stage, config, lengths, task_examples))
        except ConfigurationError as error:
            left_out[stage] = str(error).removeprefix(f"{stage}: ")
    return found, left_out


def _pretraining_load(recipe: Recipe, stage: str, config: Any, lengths: Lengths, examples: int | None) -> StageLoad:
    """The work of `teach` or `prune`.

    Args:
        recipe: with the sections of the stage and of the corpus.
        stage: its name.
        config: the dense model's, of transformers.
        lengths: of the corpus's examples.
        examples: how many there are, where the stage's length is in epochs.

    Raises:
        ConfigurationError: its length is in epochs and the number of examples is not known; see also `model_sizes`.
    """
    section = getattr(recipe, stage)
    sparsity: SparsityConfig | None = getattr(section, "sparsity", None)
    distillation: DistillationConfig | None = getattr(section, "distillation", None)
    head: Head = "pairs" if recipe.corpus is not None and recipe.corpus.form == "pairs" else "masked_lm"
    student = model_sizes(config, head, sparsity)
    of_all = distillation is not None and distillation.tokens == "all"
    return StageLoad(
        stage=stage,
        training=section.training,
        steps=_steps(stage, section.training, examples, "--corpus_dir"),
        sequences=_sequences(section.training),
        batch=section.training.per_device_train_batch_size,
        lengths=lengths,
        predicted=1.0 if of_all else section.mask_probability,
        student=student,
        teacher=None if distillation is None else student,
        sparsity=sparsity,
        keeps_states=distillation is not None and distillation.needs_features,
    )


def _task_load(recipe: Recipe, stage: str, config: Any, lengths: Lengths, examples: int | None) -> StageLoad:
    """The work of `finetune`, `transfer` or `quantize`; arguments and errors as of `_pretraining_load`."""
    section = getattr(recipe, stage)
    assert recipe.task is not None
    head: Head = "question_answering" if recipe.task.kind == "question_answering" else "classification"
    sparsity: SparsityConfig | None = getattr(section, "sparsity", None)
    distillation: DistillationConfig | None = getattr(section, "distillation", None)
    student = model_sizes(config, head, sparsity)
    runs_along = distillation is not None and distillation.needs_features
    once = distillation is not None and not runs_along and stage == "transfer"
    return StageLoad(
        stage=stage,
        training=section.training,
        # Fine-tuning trains one model for each seed.
        steps=_steps(stage, section.training, examples, "--train_examples")
        * len(getattr(section, "seeds", None) or [0]),
        sequences=_sequences(section.training),
        batch=section.training.per_device_train_batch_size,
        lengths=lengths,
        predicted=0.0,
        student=student,
        teacher=student if runs_along or once else None,
        taught_once=(examples or 0) if once else 0,
        sparsity=sparsity,
        locked=stage != "finetune" and sparsity is None and getattr(section, "lock", True),
        keeps_states=runs_along,
    )


def _sequences(training: TrainingConfig) -> int:
    return training.per_device_train_batch_size * training.gradient_accumulation_steps


def _steps(stage: str, training: TrainingConfig, examples: int | None, flag: str) -> int:
    if training.max_steps is not None:
        return training.max_steps
    if examples is None:
        raise ConfigurationError(f"{stage}: its length is in epochs, so the number of examples counts; give {flag}")
    epochs = 3.0 if training.num_train_epochs is None else training.num_train_epochs
    batches = max(1, examples // training.per_device_train_batch_size)  # a last batch that is not full is left out
    return math.ceil(epochs * math.ceil(batches / training.gradient_accumulation_steps))

"""A few real steps of a pre-training stage on the device at hand, timed: its own trainer, pruner, teacher and loss.

Weights are random and, without a corpus, so is the text: neither changes what a step computes.
"""

import itertools
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, set_seed

from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.distillation.distiller import Distiller
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import load_tokenizer
from pruneofa.planning.load import Lengths, StageLoad
from pruneofa.planning.sizes import Head, build_model
from pruneofa.recipe.document import Recipe
from pruneofa.sparsity.pruner import Pruner
from pruneofa.stage_folder import CORPUS_FOLDER
from pruneofa.training.objectives import MaskedLanguageModeling
from pruneofa.training.run import Examples, TrainingRun
from pruneofa.training.session import train_model
from pruneofa.workflow.stage_list import ON_CORPUS

_WARMUP = 2
_FIRST_WORD = 5  # ids below it stand for special tokens


@dataclass(frozen=True)
class MeasuredStage:
    """What a stage's steps took.

    Attributes:
        stage: its name.
        steps: how many were timed.
        batch: sequences of a step, all in one batch.
        seconds: median of a step.
        tokens_per_second: that are no padding.
        peak_bytes: memory beyond what the process held before; None where the system does not tell.
    """

    stage: str
    steps: int
    batch: int
    seconds: float
    tokens_per_second: float
    peak_bytes: int | None


class MadeUpCorpus(Dataset[dict[str, Any]]):
    """Random examples of a corpus's lengths.

    Args:
        lengths: what they follow: full, and as many shorter ones as give the mean.
        count: examples.
        vocabulary: ids lie below this.
        mask_probability: share of tokens to be predicted.
        pairs: with a second segment and a next-sentence label.
    """

    def __init__(self, lengths: Lengths, count: int, vocabulary: int, mask_probability: float, pairs: bool) -> None:
        random = np.random.default_rng(0)
        share = min(1.0, 2.0 * (1.0 - lengths.mean / lengths.longest))
        short = random.random(count) < share
        self.lengths = np.where(short, random.integers(2, lengths.longest + 1, count), lengths.longest)
        self._vocabulary = vocabulary
        self._mask_probability = mask_probability
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """The example of `(epoch, index)`."""
        random = np.random.default_rng(key)
        length = int(self.lengths[key[1]])
        ids = random.integers(_FIRST_WORD, self._vocabulary, length)
        chosen = random.random(length) < self._mask_probability
        chosen[0] = True
        example: dict[str, Any] = {
            "input_ids": ids.tolist(),
            "labels": np.where(chosen, ids, -100).tolist(),
            "attention_mask": [1] * length,
        }
        if self._pairs:
            example["token_type_ids"] = [int(place >= length // 2) for place in range(length)]
            example["next_sentence_label"] = int(random.integers(2))
        return example


def examples_to_measure(recipe: Recipe, stage: str, corpus_dir: Path) -> dict[str, Any]:
    """Arguments `dataset` and `pad_token_id` of `measure_stage`.

    Raises:
        CheckpointError: the recipe's model has no tokenizer.
        DataError: the corpus is damaged, or made with another tokenizer.
    """
    section = getattr(recipe, stage)
    tokenizer = load_tokenizer(recipe.model.name_or_path)
    examples = load_corpus(corpus_dir / CORPUS_FOLDER, tokenizer)["train"]
    dataset = MaskedLanguageModelDataset(examples, tokenizer, recipe.seed, section.mask_probability, section.masking)
    return {"dataset": dataset, "pad_token_id": tokenizer.pad_token_id}


def measure_stage(
    recipe: Recipe,
    load: StageLoad,
    config: Any,
    steps: int,
    *,
    dataset: Any = None,
    pad_token_id: int = 0,
) -> MeasuredStage:
    """Take some steps of `teach` or `prune`, each of one batch, and time them.

    Args:
        recipe: whose stage.
        load: of the stage.
        config: the dense model's, of transformers.
        steps: how many to time, after two that warm up.
        dataset: examples by `(epoch, index)` with `lengths` (default: made-up ones).
        pad_token_id: fills shorter examples.

    Raises:
        ConfigurationError: the stage is no pre-training, or too short.
    """
    if load.stage not in ON_CORPUS:
        raise ConfigurationError(f"{load.stage}: only {' and '.join(ON_CORPUS)} can be measured")
    if load.steps < steps + _WARMUP + 1:
        raise ConfigurationError(
            f"{load.stage}: the stage has {load.steps} steps, too few to measure {steps} of them after {_WARMUP} that "
            "warm up; lower --measure"
        )
    set_seed(recipe.seed)
    memory = _PeakMemory()
    head: Head = "pairs" if recipe.corpus is not None and recipe.corpus.form == "pairs" else "masked_lm"
    model = build_model(config, head)
    section = getattr(recipe, load.stage)
    distillation = getattr(section, "distillation", None)
    distiller = None
    if distillation is not None:
        distiller = Distiller(build_model(config, head), distillation, student=model)
    clock = _Clock(steps)
    if dataset is None:
        count = max(load.batch * (steps + _WARMUP + 1), 2 * load.batch)
        dataset = MadeUpCorpus(load.lengths, count, config.vocab_size, section.mask_probability, head == "pairs")
    with tempfile.TemporaryDirectory(prefix="pruneofa-plan-") as folder:
        train_model(
            model,
            MaskedLanguageModeling(distiller),
            _for_measuring(load),
            Examples(dataset, pad_token_id),
            TrainingRun(f"measuring {load.stage}", Path(folder), recipe.seed),
            pruner=None if load.sparsity is None else Pruner(model, load.sparsity),
            callbacks=[clock],
        )
    seconds = statistics.median(clock.seconds)
    return MeasuredStage(
        load.stage,
        len(clock.seconds),
        load.batch,
        seconds,
        sum(clock.tokens) / sum(clock.seconds),
        memory.grown(),
    )


def _for_measuring(load: StageLoad) -> Any:
    """The stage's own settings, without what is not a step: several batches, evaluation, checkpoints, trackers."""
    return load.training.model_copy(
        update={
            "gradient_accumulation_steps": 1,
            "eval_steps": None,
            "load_best_model_at_end": False,
            "report_to": [],
            "save_steps": 10**9,
            "logging_steps": 10**9,
        }
    )


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Times steps from beginning to beginning, and stops the run when there are enough."""

    def __init__(self, steps: int) -> None:
        self._wanted = steps
        self._begun: list[tuple[float, int]] = []

    @property
    def seconds(self) -> list[float]:
        """Of each step after the warm-up."""
        begun = [moment for moment, _ in self._begun[_WARMUP:]]
        return [later - earlier for earlier, later in itertools.pairwise(begun)]

    @property
    def tokens(self) -> list[int]:
        """Of each step after the warm-up."""
        seen = [tokens for _, tokens in self._begun[_WARMUP:]]
        return [later - earlier for earlier, later in itertools.pairwise(seen)]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read the clock when all that was begun is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._begun.append((time.perf_counter(), int(state.num_input_tokens_seen)))
        if len(self._begun) > self._wanted + _WARMUP:
            control.should_training_stop = True


class _PeakMemory:
    """The most memory held since this was made, beyond what was held then."""

    def __init__(self) -> None:
        self._is_gpu = torch.cuda.is_available()
        if self._is_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before: int | None = torch.cuda.memory_allocated()
        else:
            self._before = _resident_bytes()

    def grown(self) -> int | None:
        """In bytes."""
        if self._before is None:
            return None
        if self._is_gpu:
            return int(torch.cuda.max_memory_allocated()) - self._before
        # The kernel counts in KiB on Linux, the only system where the line below is reached.
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._before


def _resident_bytes() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()

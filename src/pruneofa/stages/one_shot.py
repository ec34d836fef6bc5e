"""Prune a model in one shot, from texts alone: layer-wise reconstruction instead of training (`pruneofa one-shot`)."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pruneofa.architectures.positions import longest_sequence
from pruneofa.atomic import replacing_folder, write_json
from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.texts import TextDataset
from pruneofa.data.sources.reading import read_rows
from pruneofa.data.sources.rows import text_value
from pruneofa.data.tasks.calibration import sample_batches
from pruneofa.data.tasks.encoded import Texts, encode_texts
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.log_lines import LogLines
from pruneofa.models.loading import model_class
from pruneofa.models.opened import OpenedModel, open_model
from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.models.sentence_files import carry_sentence_files, sentence_modules
from pruneofa.recipe.document import OneShotSection, Recipe
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.sparsity.reconstruction.layerwise import LinearReport, Progress, reconstruct
from pruneofa.stage_folder import CORPUS_FOLDER, STATE_FOLDER

logger = logging.getLogger(__name__)

REPORT_NAME = "one_shot.json"
_MODEL_LIMIT = 512
"""Longest text in tokens where neither the model nor its folder sets a limit."""


@dataclass(frozen=True)
class CalibrationTexts:
    """What a model is pruned on.

    Attributes:
        source: as of `read_rows`.
        examples: how many texts of it, chosen at random; all where there are fewer.
        text_column, text_pair_column: where they are; a pair for models of pairs.
        max_length: longest text in tokens; None: what the model's folder says, else what it takes.
        batch_size: texts that are run together.
        seed: of the choice.
    """

    source: str | list[str]
    examples: int = 512
    text_column: str = "text"
    text_pair_column: str | None = None
    max_length: int | None = None
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("examples", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} is {value}; allowed: 1 and more")


@dataclass(frozen=True)
class OneShotSummary:
    """What was done.

    Attributes:
        linears: what became of each pruned Linear.
        sparsity: share of zeros over all of them.
        texts, tokens: that the model was pruned on.
        seconds: for all of it, loading and saving included.
    """

    linears: list[LinearReport]
    sparsity: float
    texts: int
    tokens: int
    seconds: float


def prune_in_one_shot(
    model: str,
    output_dir: Path,
    texts: CalibrationTexts,
    config: ReconstructionConfig,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> OneShotSummary:
    """Prune a saved model without training, and save it with its manifest; all of the folder is written, or nothing.

    Its tokenizer goes with it, and where sentence-transformers saved it, the files that say how vectors are made.

    Args:
        model: folder, hub name, `package:MODULE/folder` or compressed file of a float model, with or without a head.
        output_dir: folder to write.
        texts: what it is pruned on; no labels.
        config: how far and how.
        overwrite: replace what is in the folder.
        progress: called as (what is done, how much of it, of how much).

    Raises:
        ConfigurationError: the folder is in use, or the model can't be pruned layer by layer.
        CheckpointError: the model is missing or damaged, or computes in int8.
        DataError: the texts are missing or hold no words, or the model's weights are not finite.
    """
    begin = time.monotonic()
    if not overwrite and output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ConfigurationError(
            f"{str(output_dir)!r} already exists and is not empty; choose another folder, or pass --overwrite"
        )
    opened = open_model(model)
    summary, save = _pruned(opened, calibration_batches(opened, texts), config, progress, begin)
    with replacing_folder(output_dir) as folder:
        save(folder)
    return summary


def run(recipe: Recipe, inputs: Mapping[str, str], output_dir: Path) -> dict[str, Any]:
    """As a stage of a run: prune `inputs["sparse"]` on some examples of `inputs["corpus"]`, as `recipe.one_shot` says.

    Returns:
        `sparsity`, `texts` and `tokens`; what became of each Linear is in the folder's `one_shot.json`.
    """
    begin = time.monotonic()
    section = recipe.one_shot or OneShotSection()
    opened = open_model(inputs["sparse"])
    tokenizer = opened.tokenizer()
    examples = TextDataset(load_corpus(Path(inputs["corpus"]) / CORPUS_FOLDER, tokenizer)["train"])
    batches = sample_batches(examples, section.examples, section.batch_size, tokenizer.pad_token_id, recipe.seed)
    lines = LogLines(logger, "one_shot")
    summary, save = _pruned(
        opened, batches, section.reconstruction, lambda what, done, of: lines(done, of, what), begin
    )
    save(output_dir)
    return {"sparsity": summary.sparsity, "texts": summary.texts, "tokens": summary.tokens}


def _pruned(
    opened: OpenedModel,
    batches: list[dict[str, Tensor]],
    config: ReconstructionConfig,
    progress: Progress | None,
    begin: float,
) -> tuple[OneShotSummary, Callable[[Path], None]]:
    """What was done to a model, and what writes it into a folder."""
    model = opened.name
    if opened.quantization() is not None:
        raise ConfigurationError(f"model {model!r} computes in int8; prune the float model, then quantize it")
    chosen = model_class(opened.config())
    bare = chosen.__name__.endswith("Model")
    network = opened.float_model(chosen, head_is_trained=not bare)
    reports = reconstruct(network, batches, config, progress)
    size = sum(report.size for report in reports)
    summary = OneShotSummary(
        linears=reports,
        sparsity=sum(report.zeros for report in reports) / size,
        texts=sum(len(batch["input_ids"]) for batch in batches),
        tokens=reports[0].tokens,
        seconds=time.monotonic() - begin,
    )
    facts = {"texts": summary.texts, "tokens": summary.tokens, **config.model_dump(mode="json")}

    def save(folder: Path) -> None:
        save_model(
            network,
            opened.tokenizer(),
            folder,
            stage="one-shot",
            targets={report.name: report.budget / report.size for report in reports},
            extra={"base_model": model, **manifest_extra(model), "one_shot": facts},
        )
        carry_sentence_files(opened, folder)
        write_json(folder / STATE_FOLDER / REPORT_NAME, dataclasses.asdict(summary))

    return summary, save


def calibration_batches(opened: OpenedModel, texts: CalibrationTexts) -> list[dict[str, Tensor]]:
    """The texts as a model's inputs, those of similar length together.

    Raises:
        DataError: the source is missing or faulty, lacks a column, or no text has two words.
    """
    tokenizer, modules = opened.tokenizer(), sentence_modules(opened)
    limits = [longest_sequence(opened.config()), modules.max_length if modules is not None else None, texts.max_length]
    known = [limit for limit in limits if limit is not None]
    found: Texts = []
    pair = texts.text_pair_column
    for row in read_rows(texts.source):
        text = text_value(row, texts.text_column)
        found.append(text if pair is None else (text, text_value(row, pair)))  # type: ignore[arg-type]
    said = [text for text in found if _words(text)]
    if all(_words(text) < 2 for text in said):
        raise DataError(
            f"texts: the source {texts.source!r} holds {len(found)} texts, none of two words or more; give a few "
            "hundred sentences or passages of the kind that the model will see"
        )
    if len(said) < len(found):
        logger.info("%d of %d texts are empty and are left out", len(found) - len(said), len(found))
    encoded = encode_texts(said, np.zeros(len(said), dtype=np.int64), tokenizer, min(known, default=_MODEL_LIMIT))  # type: ignore[arg-type]
    if tokenizer.pad_token_id is None:
        raise DataError(f"the tokenizer of {opened.name!r} has no padding token; add one to its tokenizer_config.json")
    return sample_batches(encoded, texts.examples, texts.batch_size, tokenizer.pad_token_id, texts.seed)


def _words(text: str | tuple[str, str]) -> int:
    return len(text.split()) if isinstance(text, str) else sum(len(part.split()) for part in text)

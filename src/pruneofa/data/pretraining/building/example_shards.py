"""The second step over a shard: token ids -> examples of both splits, as Arrow files with their counts beside them."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneofa.atomic import write_json
from pruneofa.data.pretraining.building.blocks import pack_blocks
from pruneofa.data.pretraining.building.config import Form
from pruneofa.data.pretraining.building.examples import Examples, Frame, write_examples
from pruneofa.data.pretraining.building.passages import passage_examples
from pruneofa.data.pretraining.building.segment_pairs import Corpus, pair_examples
from pruneofa.data.pretraining.building.token_shards import TokenReader, TokenShard, read_token_shard
from pruneofa.data.pretraining.building.whole_sentences import sentence_examples
from pruneofa.data.randomness import Purpose, generator

__all__ = ["SPLITS", "ExampleSettings", "ExampleTask", "ShardList", "example_facts", "make_examples"]

SPLITS = ("train", "validation")
_LENGTH_BINS = 32


@dataclass(frozen=True)
class ExampleSettings:
    """What decides the examples.

    Attributes:
        form: of the examples.
        max_length: longest example in tokens.
        short_probability: chance of an example to be made shorter.
        seed: of everything random.
        frame: the special tokens.
        unknown: id of the unknown token, or None.
        validation_below: documents whose hash is below this validate.
    """

    form: Form
    max_length: int
    short_probability: float
    seed: int
    frame: Frame
    unknown: int | None
    validation_below: int


@dataclass(frozen=True)
class ShardList:
    """All token shards of a corpus.

    Attributes:
        paths: their files.
        sizes: documents, sentences and tokens of each.
    """

    paths: tuple[Path, ...]
    sizes: tuple[dict[str, int], ...]

    def corpus(self, validation_below: int) -> Corpus:
        """The shards as something to draw documents from."""
        first = np.concatenate([[0], np.cumsum([size["documents"] for size in self.sizes])])
        reader = TokenReader(list(self.paths), list(self.sizes))
        return Corpus(reader, tuple(first.tolist()), validation_below)


@dataclass(frozen=True)
class ExampleTask:
    """One shard whose examples go below `folder`."""

    shard: int
    shards: ShardList
    settings: ExampleSettings
    folder: Path


def make_examples(task: ExampleTask) -> None:
    """Do one shard: `folder/SPLIT/NUMBER.arrow` for each split that has an example, then `folder/NUMBER.json`."""
    began = time.perf_counter()
    shard = read_token_shard(task.shards.paths[task.shard], task.shards.sizes[task.shard])
    validates = shard.hashes < task.settings.validation_below
    facts: dict[str, Any] = {}
    for index, (name, chosen) in enumerate(zip(SPLITS, (~validates, validates), strict=True)):
        members = np.flatnonzero(chosen)
        if not len(members):
            continue
        examples = _examples(shard, members, task, index)
        path = task.folder / name / f"{task.shard:05d}.arrow"
        write_examples(examples, path)
        facts[name] = {**_count(shard, members, examples, task.settings), "bytes": path.stat().st_size}
    facts["seconds"] = {"make_examples": time.perf_counter() - began}
    write_json(_facts_path(task.folder, task.shard), facts)


def example_facts(folder: Path, shard: int) -> dict[str, Any] | None:
    """What `make_examples` counted, by split; None where the shard is not finished."""
    try:
        facts: dict[str, Any] = json.loads(_facts_path(folder, shard).read_text(encoding="utf-8"))
        for name in SPLITS:
            if name in facts and (folder / name / f"{shard:05d}.arrow").stat().st_size != facts[name]["bytes"]:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts


def _examples(shard: TokenShard, members: npt.NDArray[np.int64], task: ExampleTask, split: int) -> Examples:
    settings = task.settings
    random = generator(Purpose.PACKING, settings.seed, epoch=split, index=task.shard)
    if settings.form == "blocks":
        bounds = shard.sentences[shard.documents]
        return pack_blocks(
            shard.tokens,
            bounds[members],
            bounds[members + 1],
            shard.numbers[members],
            max_length=settings.max_length,
            frame=settings.frame,
            generator=random,
        )
    if settings.form == "sentences":
        return sentence_examples(
            shard,
            members,
            max_length=settings.max_length,
            short_probability=settings.short_probability,
            frame=settings.frame,
            generator=random,
        )
    if settings.form == "passages":
        return passage_examples(shard, members, max_length=settings.max_length, frame=settings.frame, generator=random)
    corpus = task.shards.corpus(settings.validation_below)
    try:
        return pair_examples(
            shard,
            members,
            corpus,
            max_length=settings.max_length,
            short_probability=settings.short_probability,
            frame=settings.frame,
            generator=random,
        )
    finally:
        corpus.reader.close()


def _count(
    shard: TokenShard, members: npt.NDArray[np.int64], examples: Examples, settings: ExampleSettings
) -> dict[str, Any]:
    bounds = shard.sentences[shard.documents]
    lengths = (bounds[1:] - bounds[:-1])[members]
    counted = {"documents": len(members), "tokens": int(lengths.sum()), "unknown_tokens": 0}
    if settings.unknown is not None:
        before = np.concatenate([[0], np.cumsum(shard.tokens == settings.unknown)])
        counted["unknown_tokens"] = int((before[bounds[1:]] - before[bounds[:-1]])[members].sum())
    if settings.form != "blocks":
        counted["sentences"] = int(np.diff(shard.documents)[members].sum())
    return {
        **counted,
        "examples": len(examples),
        "example_tokens": len(examples.input_ids),
        **examples.facts,
        "histograms": {
            # Entry i: documents of [2^i, 2^(i+1)) tokens.
            "document_lengths": np.bincount(np.frexp(lengths)[1] - 1, minlength=_LENGTH_BINS).tolist(),
            "example_lengths": np.bincount(examples.lengths, minlength=settings.max_length + 1).tolist(),
        },
    }


def _facts_path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.json"

"""Which documents validate: those whose text hash lies below a threshold."""

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.config import CorpusConfig
from pruneofa.data.pretraining.building.example_shards import ShardList
from pruneofa.data.pretraining.building.token_shards import read_hashes
from pruneofa.errors import DataError

__all__ = ["validation_threshold"]


def validation_threshold(config: CorpusConfig, shards: ShardList, dropped: dict[str, int]) -> int:
    """The hash below which documents validate.

    At least one text validates, however few there are, and of pairs two, so that each has another one to draw from.

    Args:
        config: the share, the form; named in errors.
        shards: of all documents.
        dropped: rows left out, for the error where nothing else is there.

    Raises:
        DataError: no text at all, or too few for a split.
    """
    least = 2 if config.form == "pairs" else 1
    smallest: list[int] = []
    documents = 0
    for hashes in _hashes(shards):
        documents += len(hashes)
        smallest = heapq.nsmallest(least, {*smallest, *np.unique(hashes)[:least].tolist()})
    if not documents:
        reasons = ", ".join(f"{count} {reason.removeprefix('dropped_')}" for reason, count in dropped.items() if count)
        raise DataError(
            f"the source {config.source!r} holds no text in column {config.text_column!r} (dropped: {reasons}); "
            "check the source and text_column"
        )
    threshold = 0
    if config.validation_fraction:
        threshold = max(int(config.validation_fraction * 2**63), smallest[-1] + 1)
    if _distinct(shards, threshold, least) < least:
        held = f"the source {config.source!r} holds {documents} document{'' if documents == 1 else 's'}"
        more = "give more documents (a text file needs a blank line between them, or corpus.line_end: document)"
        if least == 2:
            raise DataError(
                f"{held}, too few for form pairs: training, and validation where there is one, need two different ones "
                f"each; {more} or set form to sentences"
            )
        raise DataError(
            f"{held}, none of which is left for training beside validation; {more} or set validation_fraction to 0"
        )
    return threshold


def _distinct(shards: ShardList, threshold: int, enough: int) -> int:
    """Different texts that train, counted up to `enough`."""
    found: set[int] = set()
    for hashes in _hashes(shards):
        found |= set(np.unique(hashes[hashes >= threshold])[:enough].tolist())
        if len(found) >= enough:
            return enough
    return len(found)


def _hashes(shards: ShardList) -> Iterator[npt.NDArray[np.int64]]:
    for path, sizes in zip(shards.paths, shards.sizes, strict=True):
        yield read_hashes(path, sizes)

"""How many examples of a split are in training too: figures on these say little about new texts."""

from collections.abc import Iterator, Mapping

from pruneofa.data.tasks.encoded import EncodedDataset
from pruneofa.data.tasks.windows import WindowDataset

__all__ = ["count_overlaps"]

Split = EncodedDataset | WindowDataset


def count_overlaps(train: Split, others: Mapping[str, Split]) -> dict[str, int]:
    """Split -> how many of its texts (pairs, questions on a context) training has too, for splits that have any.

    Upper and lower case and white space make no difference.
    """
    known = {hash(text) for text in _texts(train)}
    found = {name: sum(hash(text) in known for text in _texts(split)) for name, split in others.items()}
    return {name: count for name, count in found.items() if count}


def _texts(split: Split) -> Iterator[tuple[str, ...]]:
    if isinstance(split, WindowDataset):
        for question in split.questions:
            yield _plain(question.question), _plain(question.context)
        return
    for text in split.texts:
        yield tuple(map(_plain, text)) if isinstance(text, tuple) else (_plain(text),)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())

"""Rows held out of a split, in whole groups, so that nothing of a group is on both sides; no seed is involved.

Which groups are held out depends on their names alone (by SHA-256), so every stage, variant and seed of a task, and
every later run, leaves out the same rows.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pruneofa.errors import DataError

__all__ = ["article_lists", "hold_out"]

Item = TypeVar("Item")


def hold_out(
    items: Sequence[Item], group_of: Callable[[Item], str], fraction: float, purpose: str
) -> tuple[list[Item], list[Item]]:
    """Split items into those that stay and those that are held out, both in their own order.

    Groups are taken in the order of the hash of purpose and name until `fraction` of the items is reached.

    Args:
        items: what is split.
        group_of: name of an item's group: the article of a question, the (first) text of an example.
        fraction: share of the items to hold out, in (0, 1).
        purpose: makes splits for different uses independent of each other.

    Raises:
        DataError: there is one group only, so that one side would be empty.
    """
    sizes = Counter(group_of(item) for item in items)
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"pruneofa/{purpose}/{group}".encode()).digest())
    if len(order) < 2:
        raise DataError(
            f"{len(items)} examples of {len(order)} group can't be split for {purpose}; give a source of its own"
        )
    held: set[str] = set()
    count = 0
    for group in order[:-1]:
        if count >= fraction * len(items):
            break
        held.add(group)
        count += sizes[group]
    kept = [item for item in items if group_of(item) not in held]
    return kept, [item for item in items if group_of(item) in held]


def article_lists(path: str) -> tuple[frozenset[str], frozenset[str]]:
    """The articles to train on and those to evaluate on, from a JSON file with `train_articles`, `eval_articles`.

    Raises:
        DataError: the file can't be read, lacks a list, or has an article on both.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        train, evaluation = (frozenset(map(str, document[key])) for key in ("train_articles", "eval_articles"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"task.article_split: {path!r} is no JSON file with the lists train_articles and eval_articles ({error})"
        ) from error
    if both := train & evaluation:
        raise DataError(f"task.article_split: {path!r} has {sorted(both)[0]!r} on both lists; take it off one")
    return train, evaluation

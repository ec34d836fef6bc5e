"""Rows held out of a split, in whole groups, so that nothing of a group is on both sides, with every class on both.

Which groups are held out depends on their names, their classes and the split's own seed alone (by SHA-256), so every
stage, variant and training seed of a task, and every later run, leaves out the same rows.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pruneofa.errors import DataError

__all__ = ["article_lists", "hold_out"]

Item = TypeVar("Item")


def hold_out(
    items: Sequence[Item],
    group_of: Callable[[Item], str],
    fraction: float,
    purpose: str,
    *,
    stratum_of: Callable[[Item], str] = lambda item: "",
    seed: int = 0,
) -> tuple[list[Item], list[Item]]:
    """Split items into those that stay and those that are held out, both in their own order.

    Every class gives its share of the `fraction` (by largest remainders, one at least), and has a group on both sides
    where it has two; only of very many small classes some are not held out. Within a class, groups are taken in the
    order of the hash of seed, purpose and name. A group of several classes counts for the rarest of them.

    Args:
        items: what is split.
        group_of: name of an item's group: the article of a question, the (first) text of an example.
        fraction: share of the items to hold out, in (0, 1).
        purpose: makes splits for different uses independent of each other.
        stratum_of: an item's class; by default all are of one.
        seed: another one makes another split.

    Raises:
        DataError: no class has two groups, so that one side would be empty.
    """
    groups, strata = [group_of(item) for item in items], [stratum_of(item) for item in items]
    sizes, classes = Counter(groups), Counter(strata)
    rarest: dict[str, str] = {}
    for group, stratum in zip(groups, strata, strict=True):
        rarest[group] = min(rarest.get(group, stratum), stratum, key=lambda name: (classes[name], name))
    members: dict[str, list[str]] = {}
    opening = f"pruneofa/{seed}/{purpose}" if seed else f"pruneofa/{purpose}"
    for group in sorted(sizes, key=lambda name: hashlib.sha256(f"{opening}/{name}".encode()).digest()):
        members.setdefault(rarest[group], []).append(group)
    if not any(len(found) > 1 for found in members.values()):
        raise DataError(
            f"{len(items)} examples of {len(sizes)} group{'s' if len(sizes) > 1 else ''} can't be split for {purpose} "
            f"with a class on both sides (at task.{purpose}_fraction); give a source of its own"
        )
    held: set[str] = set()
    for stratum, wanted in _quotas({name: sum(map(sizes.__getitem__, members[name])) for name in members}, fraction):
        count = 0
        for group in members[stratum][:-1]:  # one stays
            if count >= wanted:
                break
            held.add(group)
            count += sizes[group]
    pairs = list(zip(items, groups, strict=True))
    return [item for item, group in pairs if group not in held], [item for item, group in pairs if group in held]


def _quotas(sizes: Mapping[str, int], fraction: float) -> list[tuple[str, int]]:
    """How many items of each class to hold out: together the fraction of all, rounded up.

    A class gives one at least, unless there are so many small ones that twice the fraction would go.
    """
    shares = {name: fraction * size for name, size in sizes.items()}
    quotas = {name: math.floor(share) for name, share in shares.items()}
    total = math.ceil(round(fraction * sum(sizes.values()), 9))
    if sum(max(1, quota) for quota in quotas.values()) <= max(2 * total, total + 1):
        quotas = {name: max(1, quota) for name, quota in quotas.items()}
    missing = max(0, total - sum(quotas.values()))
    for name in sorted(shares, key=lambda name: (quotas[name] - shares[name], name))[:missing]:
        quotas[name] += 1
    return list(quotas.items())


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

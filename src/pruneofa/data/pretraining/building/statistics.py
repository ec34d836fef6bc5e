"""What is in a corpus: the counts of its shards, summed.

The whole corpus has `documents`, `tokens` (special tokens not counted), `characters` and, by reason, the rows that were
dropped. Each split has `documents`, `tokens`, `unknown_tokens`, `examples`, `example_tokens` (special tokens counted),
`mean_length` (tokens of an example) and `histograms`: `example_lengths` (entry i: examples of i tokens) and
`document_lengths` (entry i: documents of 2^i tokens and more, below twice that). By form there are also `sentences`;
`cut_documents` (blocks: longer than a block) or `cut_sentences` (longer than an example); and of pairs `random_next`,
`cut_pairs` and `cut_tokens`, the tokens left out since a pair was too long.
"""

from typing import Any

from pruneofa.data.pretraining.building.example_shards import SPLITS
from pruneofa.data.pretraining.building.work_folder import WorkFolder

__all__ = ["corpus_statistics", "summed_seconds"]

_NOT_SUMMED = ("bytes", "histograms")


def corpus_statistics(token_facts: list[dict[str, Any]], example_facts: list[dict[str, Any]]) -> dict[str, Any]:
    """The statistics from the facts of all shards."""
    statistics: dict[str, Any] = {key: sum(facts[key] for facts in token_facts) for key in ("documents", "tokens")}
    statistics["characters"] = sum(facts["characters"] for facts in token_facts)
    statistics.update(WorkFolder.dropped(token_facts))
    for name in SPLITS:
        of_split = [facts[name] for facts in example_facts if name in facts]
        if of_split:
            statistics[name] = _sum_split(of_split)
    return statistics


def summed_seconds(token_facts: list[dict[str, Any]], example_facts: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of work by step, over all processes."""
    total: dict[str, float] = {}
    for facts in (*token_facts, *example_facts):
        for step, seconds in facts["seconds"].items():
            total[step] = total.get(step, 0.0) + seconds
    return total


def _sum_split(facts: list[dict[str, Any]]) -> dict[str, Any]:
    summed: dict[str, Any] = {key: sum(each[key] for each in facts) for key in facts[0] if key not in _NOT_SUMMED}
    summed["mean_length"] = summed["example_tokens"] / summed["examples"]
    summed["histograms"] = {
        name: [sum(column) for column in zip(*(each["histograms"][name] for each in facts), strict=True)]
        for name in facts[0]["histograms"]
    }
    return summed

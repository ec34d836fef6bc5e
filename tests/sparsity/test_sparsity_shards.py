"""Weights split over 2 and 4 processes by `fully_shard`: masks, steps and state are those of one process."""

from typing import Any

import pytest
from processes import run_ranks
from sharded_runs import everything
from sparsity_models import classifier, ramp

from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.pruner import Pruner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found; the comparisons with whole runs are made there."""
    return run_ranks(everything, 2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def fours(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The same of four ranks, which hold fewer rows each, some none."""
    return run_ranks(everything, 4, tmp_path_factory.mktemp("four"))


def test_selection_is_that_of_one_process_bit_for_bit(pairs: list[dict[str, Any]], fours: list[dict[str, Any]]) -> None:
    compared = [outcome["selections"] for outcome in [*pairs, *fours]]
    assert min(compared) == max(compared) > 100


def test_faults_are_told_on_every_rank(pairs: list[dict[str, Any]], fours: list[dict[str, Any]]) -> None:
    for outcomes in (pairs, fours):
        for outcome in outcomes:
            poisoned, count, columns = outcome["refusals"]
            assert poisoned.startswith("saliency has NaN entries")
            assert count == f"prune_count is 999; allowed: 0 to {4 * len(outcomes)}, the number of entries"
            assert columns.startswith("a pruned weight is laid out over the ranks as (Shard(dim=1),); allowed: split")


def test_sharded_run_has_exactly_the_zeros_that_were_asked_for(
    pairs: list[dict[str, Any]], fours: list[dict[str, Any]]
) -> None:
    zeros = pairs[0]["uniform"]["zeros"]
    assert list(zeros) == list(Pruner(classifier(), ramp()).masks)
    assert all(count == prune_count(0.7, size) for count, size in zeros.values())
    for outcomes in (pairs, fours):
        over_all = outcomes[0]["global"]["zeros"].values()
        assert sum(count for count, _ in over_all) == prune_count(0.7, sum(size for _, size in over_all))
        assert all(outcome["global"] == pairs[0]["global"] for outcome in outcomes)
    assert pairs[0]["uniform"] == pairs[1]["uniform"]


def test_lock_holds(pairs: list[dict[str, Any]]) -> None:
    assert pairs[0]["lock"] == pairs[1]["lock"] > 0.45


def test_copies_of_shards_must_hold_the_same_masks(fours: list[dict[str, Any]]) -> None:
    for outcome in fours:
        agree, error = outcome["copies"]
        assert agree
        assert error.startswith("step 0: the masks of ranks [2, 3] differ from those of rank 0")

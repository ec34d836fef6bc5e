import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruneofa.sparsity.budget import global_, prune_count, uniform
from pruneofa.sparsity.selection import keep_largest

# Few distinct values, so that most selections cut through a tie.
_TIED = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 3.0])


def by_full_sort(saliencies: list[torch.Tensor], prune_count: int) -> list[torch.Tensor]:
    """The same selection by a stable sort: of equal entries the earlier ones go."""
    entries = torch.cat([saliency.flatten().double() for saliency in saliencies])
    flat = torch.ones(len(entries), dtype=torch.bool)
    flat[entries.sort(stable=True).indices[:prune_count]] = False
    parts = flat.split([saliency.numel() for saliency in saliencies])
    return [part.reshape(saliency.shape) for part, saliency in zip(parts, saliencies, strict=True)]


def assert_selects_like_sort(saliencies: list[torch.Tensor], prune_count: int) -> None:
    masks = keep_largest(saliencies, prune_count)
    assert sum(int((~mask).sum()) for mask in masks) == prune_count
    for mask, expected in zip(masks, by_full_sort(saliencies, prune_count), strict=True):
        assert mask.dtype == torch.bool
        assert torch.equal(mask, expected)


@given(
    tensors=st.lists(st.lists(_TIED, min_size=1, max_size=30), min_size=1, max_size=4),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_equals_a_full_sort_with_ties(tensors: list[list[float]], share: float, dtype: torch.dtype) -> None:
    saliencies = [torch.tensor(values, dtype=dtype) for values in tensors]
    assert_selects_like_sort(saliencies, round(share * sum(map(len, tensors))))


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 20), columns=st.integers(1, 20), share=st.floats(0, 1))
def test_equals_a_full_sort_on_transposed_weights(seed: int, rows: int, columns: int, share: float) -> None:
    saliency = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)).t()
    assert_selects_like_sort([saliency, saliency[::2]], round(share * (rows * columns + saliency[::2].numel())))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [0.0, 0.5, float("inf")])
def test_all_equal(value: float, dtype: torch.dtype) -> None:
    saliency = torch.full((7, 9), value, dtype=dtype)
    for count in (0, 1, 31, 62, 63):
        assert_selects_like_sort([saliency], count)


def test_many_zeros_and_few_survivors() -> None:
    saliency = torch.zeros(50, 40)
    saliency[3, 5], saliency[49, 39] = 1.0, 2.0
    for count in (1, 1_000, 1_998, 1_999):
        assert_selects_like_sort([saliency], count)


def test_differences_below_float32_count_in_float64() -> None:
    saliency = torch.tensor([1.0 + 2e-12, 1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert keep_largest([saliency], 1)[0].tolist() == [True, False, True]


def test_never_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a full sort")

    for module, name in [(torch, "sort"), (torch, "argsort"), (torch, "topk"), (np, "sort"), (np, "argsort")]:
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch.Tensor, "sort", refuse)
    monkeypatch.setattr(torch.Tensor, "argsort", refuse)
    assert int(keep_largest([torch.rand(100)], 90)[0].sum()) == 10


@pytest.mark.parametrize("count", [-1, 5])
def test_count_out_of_range(count: int) -> None:
    with pytest.raises(ValueError, match=f"prune_count is {count}; allowed: 0 to 4"):
        keep_largest([torch.rand(4)], count)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        keep_largest([torch.tensor([1.0, float("nan")])], 1)


def test_prune_count_is_the_floor_of_the_decimal_product() -> None:
    assert 0.29 * 100 < 29  # floating point alone would give 28
    assert prune_count(0.29, 100) == 29
    assert prune_count(0.7, 10) == 7
    assert prune_count(0.99999999999, 10) == 9
    assert prune_count(0.0, 10) == 0
    assert prune_count(1e-05, 99_999) == 0
    assert prune_count(1e-05, 100_000) == 1


@given(percent=st.integers(0, 99), size=st.integers(0, 10**7))
def test_prune_count_of_whole_percents(percent: int, size: int) -> None:
    assert prune_count(percent / 100, size) == math.floor(Fraction(percent, 100) * size)


@given(
    shapes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=5),
    percent=st.integers(0, 99),
    seed=st.integers(0, 1_000),
)
def test_budgets_hold_exactly(shapes: list[tuple[int, int]], percent: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    saliencies = {f"m{i}": torch.rand(shape, generator=generator) * (i + 1) for i, shape in enumerate(shapes)}
    share = Fraction(percent, 100)
    for name, mask in uniform(saliencies, percent / 100).items():
        assert int((~mask).sum()) == math.floor(share * saliencies[name].numel())
    masks = global_(saliencies, percent / 100)
    assert list(masks) == list(saliencies)
    total = sum(saliency.numel() for saliency in saliencies.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == math.floor(share * total)


def test_a_global_budget_spares_the_salient_tensor() -> None:
    masks = global_({"small": torch.rand(8, 8), "large": torch.rand(8, 8) + 10.0}, 0.5)
    assert not masks["small"].any()
    assert masks["large"].all()

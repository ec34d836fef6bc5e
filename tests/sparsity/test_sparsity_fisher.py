"""The block-diagonal Fisher matrix against dense inverses in float64."""

import pytest
import torch

from pruneofa.sparsity.saliency import fisher
from pruneofa.sparsity.saliency.fisher import BLOCK, DAMPING, fisher_scores, fisher_update, outer_products
from pruneofa.sparsity.saliency.seen import SeenWeight


def seen_weight(rows: int = 6, columns: int = 20, passes: int = 120, seed: int = 0) -> tuple[SeenWeight, torch.Tensor]:
    """A weight, and the dense empirical Fisher of its flat entries with everything outside of the blocks cut."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    gradients = torch.randn(passes, rows, columns, generator=generator).cumsum(2)
    blocks = sum(outer_products(gradient) for gradient in gradients) / passes
    dense = torch.block_diag(*blocks.double())[: rows * columns, : rows * columns]
    return SeenWeight(weight, blocks), dense + DAMPING * torch.eye(rows * columns, dtype=torch.float64)


def test_blocks_are_the_dense_fisher_with_everything_outside_cut() -> None:
    gradients = torch.randn(30, 6, 20, generator=torch.Generator().manual_seed(0))
    flat = gradients.reshape(30, -1)
    same = torch.arange(120) // BLOCK
    dense = torch.where(same[:, None] == same[None, :], flat.T @ flat, 0.0)
    blocks = torch.block_diag(*sum(outer_products(gradient) for gradient in gradients))
    torch.testing.assert_close(blocks[:120, :120], dense, rtol=1e-4, atol=1e-4)
    assert not blocks[120:].any()


@pytest.mark.parametrize("chunk", [1, 4096])
def test_scores_are_those_of_the_dense_inverse(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "_CHUNK", chunk)
    seen, dense = seen_weight()
    expected = seen.weight.flatten().square() / (2 * torch.linalg.inv(dense).diagonal())
    torch.testing.assert_close(fisher_scores(seen).flatten(), expected, rtol=1e-6, atol=1e-12)


def test_the_update_is_the_formula_of_the_paper() -> None:
    seen, dense = seen_weight()
    mask = torch.rand(6, 20, generator=torch.Generator().manual_seed(1)) > 0.4
    dropped = (~mask).flatten().nonzero()[:, 0]
    inverse, weight = torch.linalg.inv(dense), seen.weight.flatten()
    step = inverse[:, dropped] @ torch.linalg.solve(inverse[dropped][:, dropped], weight[dropped])
    updated = fisher_update(seen, mask)
    torch.testing.assert_close(updated.flatten(), weight - step, rtol=1e-6, atol=1e-6)
    assert not updated[~mask].view(torch.int64).any()


def test_no_other_weights_cost_less() -> None:
    seen, dense = seen_weight()
    mask = torch.rand(6, 20, generator=torch.Generator().manual_seed(2)) > 0.5
    best = (fisher_update(seen, mask) - seen.weight).flatten()
    cost = best @ dense @ best
    for seed in range(5):
        noise = 0.01 * torch.randn(6, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        other = best + torch.where(mask, noise, 0.0).flatten()
        assert cost <= other @ dense @ other


def test_a_last_block_that_is_not_full_and_no_gradient_at_all() -> None:
    weight = torch.arange(1.0, 8.0).view(1, 7)
    seen = SeenWeight(weight, torch.zeros(1, BLOCK, BLOCK))
    torch.testing.assert_close(fisher_scores(seen), weight.double().square() * DAMPING / 2)
    mask = weight > 3
    assert torch.equal(fisher_update(seen, mask), torch.where(mask, weight, 0.0))

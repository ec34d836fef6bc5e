"""Two processes over gloo: masks agree, and a mismatch stops every rank."""

from pathlib import Path
from typing import Any

import pytest
from processes import run_ranks
from sparsity_models import adamw, assert_masked, backward_and_clip, classifier, ramp
from torch.nn.parallel import DistributedDataParallel

from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.ranks import MaskMismatchError

pytestmark = pytest.mark.slow


def worker(rank: int) -> dict[str, Any]:
    model = classifier()
    ddp = DistributedDataParallel(model)
    pruner, optimizer = Pruner(ddp, ramp()), adamw(model)
    pruner.attach(optimizer)
    norms = []
    for step in range(10):
        norms.append(float(backward_and_clip(ddp, 2 * step + rank)))  # each rank has data of its own
        for name, weight in pruner.masks.weights():
            assert not weight.grad[~pruner.masks[name]].any()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step()
        assert_masked(pruner)
    outcome = {"digest": pruner.masks.digest(), "norms": norms, "sparsity": pruner.sparsity}

    drifting = classifier(seed=rank)
    try:
        Pruner(drifting, ramp(end_step=0)).attach(adamw(drifting))
    except MaskMismatchError as error:
        outcome["error"] = str(error)
    return outcome


def test_ranks_agree_and_a_mismatch_stops_all(tmp_path: Path) -> None:
    one, other = run_ranks(worker, 2, tmp_path)
    assert one == other
    assert abs(one["sparsity"] - 0.7) < 0.01
    assert one["error"].startswith("step 0: the masks of ranks [1] differ from those of rank 0")

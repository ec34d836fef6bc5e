"""What is told and saved when a model with masks, a copy of one, or one inside a wrapper is saved by whatever code."""

import copy
import gc
import logging
import pickle
from pathlib import Path

import pytest
import torch
from sparsity_models import backward_and_clip, classifier, same_state, sgd
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.models.compressed import load_compressed, save_compressed
from pruneofa.sparsity.lock import lock_pattern


@pytest.fixture(scope="module")
def pruned() -> nn.Module:
    model = classifier()
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight[linear.weight.abs() < linear.weight.abs().median()] = 0
    return model


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings so far; filled as they come."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pruneofa.sparsity.ownership")
    monkeypatch.setattr(logger, "handlers", [handler])
    return found


def test_a_copy_that_outlives_its_model_is_told_of(pruned, warnings) -> None:
    model = copy.deepcopy(pruned)
    lock_pattern(model)
    copied = copy.deepcopy(model)
    del model
    gc.collect()
    backward_and_clip(copied, 0)
    sgd(copied).step()
    copied.state_dict()
    assert "is a copy of one whose masks hold" in warnings[0]
    assert "lock_pattern" in warnings[0]


def test_who_saves_by_own_code_is_told_of_lost_zeros_once(pruned, warnings, tmp_path: Path) -> None:
    model = copy.deepcopy(pruned)
    lock = lock_pattern(model)
    model.state_dict()
    assert warnings == []
    model.load_state_dict(classifier(seed=7).state_dict())
    model.save_pretrained(tmp_path)
    assert len(warnings) == 1
    assert "put_back_zeros" in warnings[0]
    assert lock.put_back_zeros("saving") > 0
    del warnings[:]
    model.state_dict()
    assert warnings == []


def test_a_locked_model_that_was_pickled_gives_its_state_where_nothing_watches_it(pruned) -> None:
    model = copy.deepcopy(pruned)
    lock_pattern(model)
    loaded = pickle.loads(pickle.dumps(model))
    assert "pruneofa" not in str([type(hook).__module__ for hook in loaded._state_dict_pre_hooks.values()])
    assert loaded.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_is_saved_as_the_one_inside(pruned, wrap, tmp_path: Path) -> None:
    model = copy.deepcopy(pruned)
    save_compressed(wrap(model), tmp_path / "wrapped.pofa")
    assert same_state(load_compressed(tmp_path / "wrapped.pofa"), model)

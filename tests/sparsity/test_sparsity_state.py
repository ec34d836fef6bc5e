"""Saving, continuing, copying: what happens to a pruner and its model outside of a run's loop."""

import copy
import gc
import io
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from sparsity_models import adamw, assert_masked, classifier, loss_of, ramp, same_state, train
from transformers import AutoModelForSequenceClassification

from pruneofa.errors import CheckpointError
from pruneofa.sparsity.ownership import current_owner
from pruneofa.sparsity.pruner import Pruner


def through_disk(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("stop", [0, 1, 4, 5, 6, 9])
def test_continues_bit_for_bit(stop: int) -> None:
    whole = classifier()
    pruner, optimizer = Pruner(whole, ramp()), adamw(whole)
    pruner.attach(optimizer)
    train(whole, pruner, optimizer, range(stop))
    saved = through_disk([whole.state_dict(), optimizer.state_dict(), pruner.state_dict()])
    train(whole, pruner, optimizer, range(stop, 12))

    resumed = classifier(seed=1)
    resumed.load_state_dict(saved[0])
    again = Pruner(resumed, ramp())
    optimizer = adamw(resumed)
    optimizer.load_state_dict(saved[1])
    again.load_state_dict(saved[2])
    again.attach(optimizer)
    train(resumed, again, optimizer, range(stop, 12), lambda: assert_masked(again))
    assert same_state(resumed, whole)
    assert again.masks.digest() == pruner.masks.digest()
    assert (again.completed_steps, again.frozen) == (pruner.completed_steps, pruner.frozen) == (12, True)


def test_attaching_a_loaded_pruner_masks_weights_that_are_dense() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(4))
    other = classifier()
    again = Pruner(other, ramp())
    again.load_state_dict(pruner.state_dict())
    again.attach(adamw(other))
    assert_masked(again)


def ramped() -> Pruner:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(4))
    return pruner


def damage(state: dict[str, Any], case: str) -> dict[str, Any]:
    state = copy.deepcopy(state)
    first = next(iter(state["masks"]))
    if case == "key":
        del state["completed_steps"]
    elif case == "module":
        del state["masks"][first]
    elif case == "shape":
        state["shapes"][first] = [8, 32]
    elif case == "short":
        state["masks"][first] = state["masks"][first][:-1]
    elif case == "dtype":
        state["masks"][first] = state["masks"][first].float()
    elif case == "values":
        state["hidden"][first] = state["hidden"][first][:-1]
    elif case == "stranger":
        state["hidden"]["nobody"] = torch.zeros(3)
    elif case == "frozen":
        state["frozen"] = True
    return state


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("key", "pruner state has no completed_steps"),
        ("module", "holds masks of 11 modules, this pruner has 12"),
        ("shape", r"has shape \[8, 32\], its weight \[16, 16\]"),
        ("short", r"31 entries of torch.uint8, but a weight of shape \[16, 16\] needs 32"),
        ("dtype", "32 entries of torch.float32"),
        ("values", "under its mask, which drops"),
        ("stranger", "nobody has values"),
        ("frozen", "and is frozen"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(case: str, text: str) -> None:
    pruner = ramped()
    state = pruner.state_dict()
    with pytest.raises(CheckpointError, match=text):
        pruner.load_state_dict(damage(state, case))
    after = pruner.state_dict()
    assert after["completed_steps"] == 4
    assert all(
        torch.equal(after[kind][name], state[kind][name]) for kind in ("masks", "hidden") for name in state[kind]
    )


def test_the_state_of_another_model_is_refused() -> None:
    state = ramped().state_dict()
    with pytest.raises(CheckpointError, match="resume with the model and the targets of the run"):
        Pruner(classifier("distilbert"), ramp()).load_state_dict(state)


def test_a_pruned_model_copies_and_pickles_without_its_pruner() -> None:
    pruner = ramped()
    model = pruner.model
    file = io.BytesIO()
    torch.save(model, file)
    assert b"pruneofa" not in file.getvalue()
    assert b"pruneofa" not in pickle.dumps(model)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False), pickle.loads(pickle.dumps(model))):
        assert same_state(twin, model)
        assert current_owner(twin) is None
        loss_of(twin, 0).backward()
        name = next(iter(pruner.masks))
        assert twin.get_submodule(name).weight.grad[~pruner.masks[name]].any()
    assert current_owner(model) is pruner


def test_a_pruned_model_is_saved_and_loaded_as_any_other(tmp_path: Path) -> None:
    pruner = ramped()
    pruner.model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert same_state(loaded, pruner.model)
    with torch.no_grad():
        assert torch.equal(loss_of(loaded.eval(), 0), loss_of(pruner.model.eval(), 0))


def test_nothing_keeps_a_dropped_model_alive() -> None:
    pruner = ramped()
    model = weakref.ref(pruner.model)
    del pruner
    gc.collect()
    assert model() is None


def test_a_pruner_lives_as_long_as_its_model() -> None:
    """So that what it promised can still be looked up when the model is saved."""
    model = classifier()
    optimizer = adamw(model)
    pruner = weakref.ref(Pruner(model, ramp()))
    current_owner(model).attach(optimizer)
    del optimizer
    gc.collect()
    assert current_owner(model) is pruner()
    del model
    gc.collect()
    assert pruner() is None


def test_a_model_that_changes_type_goes_on() -> None:
    pruner = ramped()
    pruner.model.double()
    optimizer = adamw(pruner.model)
    pruner.attach(optimizer)
    train(pruner.model, pruner, optimizer, range(4, 10), lambda: assert_masked(pruner))
    assert all(weight.dtype == torch.float64 for _, weight in pruner.masks.weights())

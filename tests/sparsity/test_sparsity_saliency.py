"""Saliencies within a pruner: what they see, what goes, and that a resumed run is the same."""

import copy
import io
from typing import Any

import pytest
import torch
from sparsity_models import adamw, assert_masked, backward_and_clip, classifier, loss_of, ramp, same_state, train
from torch import Tensor, nn

from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.saliency.fisher import outer_products
from pruneofa.sparsity.saliency.saliencies import Saliency, SeenWeight, register_saliency, saliencies, saliency_of
from pruneofa.training.trainer.pruner_file import load_pruner, save_pruner

GATHERING = ["block_fisher", "wanda"]


def through_disk(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("saliency", ["magnitude", *GATHERING])
def test_the_schedule_is_met_exactly_and_zeros_stay(saliency: str, scope: str) -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(saliency=saliency, scope=scope)), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(10), lambda: assert_masked(pruner))
    weights = dict(pruner.masks.weights())
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    if scope == "uniform":
        assert zeros == {name: prune_count(0.7, weight.numel()) for name, weight in weights.items()}
    assert sum(zeros.values()) == pytest.approx(0.7 * sum(w.numel() for w in weights.values()), abs=len(weights))
    assert pruner.frozen
    assert "fisher" not in pruner.state_dict() or not pruner.state_dict()["fisher"]


@pytest.mark.parametrize("saliency", GATHERING)
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 5, 9])
def test_continues_bit_for_bit(stop: int, saliency: str, tmp_path) -> None:
    config = ramp(saliency=saliency)
    whole = classifier()
    pruner, optimizer = Pruner(whole, config), adamw(whole)
    pruner.attach(optimizer)
    train(whole, pruner, optimizer, range(stop))
    saved = through_disk([whole.state_dict(), optimizer.state_dict()])
    save_pruner(pruner, tmp_path / "pruner.safetensors")
    train(whole, pruner, optimizer, range(stop, 12))

    resumed = classifier(seed=1)
    resumed.load_state_dict(saved[0])
    again = Pruner(resumed, config)
    optimizer = adamw(resumed)
    optimizer.load_state_dict(saved[1])
    load_pruner(again, tmp_path / "pruner.safetensors")
    again.attach(optimizer)
    train(resumed, again, optimizer, range(stop, 12), lambda: assert_masked(again))
    assert same_state(resumed, whole)
    assert again.masks.digest() == pruner.masks.digest()


class Recorder:
    """A saliency that keeps what it saw."""

    def __init__(self, *needs: str) -> None:
        self.seen: list[SeenWeight] = []
        self.saliency = Saliency(self.scores, frozenset(needs))  # type: ignore[arg-type]

    def scores(self, seen: SeenWeight) -> Tensor:
        self.seen.append(seen)
        return seen.weight.detach().abs()


@pytest.fixture
def recorder(request: pytest.FixtureRequest):
    found = Recorder(*request.param)
    register_saliency("recorder", found.saliency)
    yield found
    from pruneofa.sparsity.saliency.saliencies import _SALIENCIES

    del _SALIENCIES["recorder"]


def config_from(step: int, **changes: Any):
    return ramp(saliency="recorder", begin_step=step, end_step=step, update_every=100, freeze_step=step + 1, **changes)


@pytest.mark.parametrize("recorder", [("gradients",)], indirect=True)
def test_gradients_are_those_of_each_pass_before_clipping_and_sums(recorder: Recorder) -> None:
    model, twin = classifier(), classifier()
    pruner = Pruner(model, config_from(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    pruner.attach(optimizer)
    for step in (0, 1):  # two backward passes for one step
        backward_and_clip(model, step, max_norm=1e-3)
    optimizer.step()
    pruner.step()
    names = list(pruner.masks)
    for step in (0, 1):
        twin.zero_grad()
        loss_of(twin, step).backward()
        products = {name: outer_products(twin.get_submodule(name).weight.grad) for name in names}
        if step == 0:
            first = products
    for name, seen in zip(names, recorder.seen, strict=True):
        torch.testing.assert_close(seen.fisher, (first[name] + products[name]) / 2)


@pytest.mark.parametrize("recorder", [("inputs",)], indirect=True)
def test_inputs_are_counted_in_training_and_without_padding(recorder: Recorder) -> None:
    model = classifier()
    pruner = Pruner(model, config_from(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    pruner.attach(optimizer)
    ids = torch.randint(3, 40, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    inputs: list[Tensor] = []
    name = next(iter(pruner.masks))
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    model(input_ids=ids, attention_mask=mask, labels=torch.arange(4) % 2).loss.backward()
    handle.remove()
    model.eval()
    model(input_ids=ids + 0)
    model.train()
    with torch.no_grad():
        model(input_ids=ids + 0)
    optimizer.step()
    pruner.step()
    expected = inputs[0][mask.bool()].double().square().mean(0)
    torch.testing.assert_close(recorder.seen[0].input_power, expected)


def test_an_update_lowers_what_pruning_costs() -> None:
    """With the gradients of a quadratic loss block Fisher keeps more of the function than magnitude alone."""
    losses = {}
    for name in ("magnitude", "block_fisher"):
        model = classifier(seed=4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        pruner = Pruner(model, ramp(saliency=name, begin_step=40, end_step=40, freeze_step=40, target_sparsity=0.5))
        pruner.attach(optimizer)
        dense = copy.deepcopy(model).eval()
        train(model, pruner, optimizer, range(40))
        ids = torch.randint(3, 40, (64, 9), generator=torch.Generator().manual_seed(99))
        with torch.no_grad():
            losses[name] = float((model.eval()(input_ids=ids).logits - dense(input_ids=ids).logits).square().mean())
    assert losses["block_fisher"] < losses["magnitude"]


def test_a_users_own_saliency_is_one_more_entry() -> None:
    register_saliency("smallest_stays", Saliency(lambda seen: -seen.weight.detach().abs()))
    try:
        model = classifier()
        pruner = Pruner(model, ramp(saliency="smallest_stays", end_step=0))
        before = {name: weight.detach().clone() for name, weight in pruner.masks.weights()}
        pruner.attach(adamw(model))
        for name, weight in pruner.masks.weights():
            assert weight.abs().max() <= before[name][~pruner.masks[name]].abs().min()
    finally:
        from pruneofa.sparsity.saliency.saliencies import _SALIENCIES

        del _SALIENCIES["smallest_stays"]
    assert sorted(saliencies()) == ["block_fisher", "magnitude", "wanda"]


def test_an_unknown_saliency_names_those_that_are_known() -> None:
    with pytest.raises(ConfigurationError, match="known are block_fisher, magnitude, wanda"):
        saliency_of("luck")
    with pytest.raises(ValueError, match="known are block_fisher, magnitude, wanda"):
        ramp(saliency="luck")


@pytest.mark.parametrize("saliency", GATHERING)
def test_a_cut_before_any_statistics_is_refused(saliency: str) -> None:
    with pytest.raises(ConfigurationError, match="set begin_step to 1 or more"):
        Pruner(classifier(), ramp(saliency=saliency, initial_sparsity=0.3))
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(saliency=saliency, begin_step=1)), adamw(model)
    pruner.attach(optimizer)
    with pytest.raises(ConfigurationError, match="pass reached"):
        pruner.step()  # no forward or backward pass at all


def test_statistics_of_other_modules_are_refused() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(saliency="wanda")), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(1))
    state = pruner.state_dict()
    first = next(iter(state["power"]))
    for damaged in ({"nobody": torch.ones(16)}, {first: torch.ones(3)}):
        with pytest.raises(CheckpointError, match="statistics of"):
            pruner.load_state_dict({**state, "power": damaged})


def test_hooks_go_with_the_pruner() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(saliency="wanda")), adamw(model)
    pruner.attach(optimizer)
    hooked: nn.Module = model.get_submodule(next(iter(pruner.masks)))
    assert hooked._forward_pre_hooks
    pruner.detach()
    assert not hooked._forward_pre_hooks
    assert not model._forward_pre_hooks

import copy
import math
import sys

import pytest
import torch
from sparsity_models import (
    CONFIGS,
    MakeOptimizer,
    adamw,
    assert_masked,
    backward_and_clip,
    classifier,
    loss_of,
    ramp,
    same_state,
    sgd,
    train,
    weight_bits,
)
from torch import nn
from torch.func import functional_call

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.pruner import Pruner
from pruneofa.sparsity.schedule import is_update

OPTIMIZERS = {"adamw": adamw, "sgd": sgd}


def zeros(model: nn.Module) -> dict[str, int]:
    return {name: int((linear.weight == 0).sum()) for name, linear in encoder_linears(model).items()}


@pytest.mark.parametrize("family", CONFIGS)
def test_exact_zeros_at_every_selection(family: str) -> None:
    model = classifier(family)
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    linears = encoder_linears(model)
    dense = {
        name: value.clone() for name, value in model.state_dict().items() if name.removesuffix(".weight") not in linears
    }

    def check() -> None:
        assert_masked(pruner)
        if is_update(pruner.completed_steps, pruner.config):
            assert zeros(model) == {n: math.floor(pruner.target * m.weight.numel()) for n, m in linears.items()}

    train(model, pruner, optimizer, range(12), check)
    assert list(pruner.masks) == list(linears)
    sizes = {name: linear.weight.numel() for name, linear in linears.items()}
    assert zeros(model) == {name: size * 7 // 10 for name, size in sizes.items()}
    assert pruner.sparsity == sum(zeros(model).values()) / sum(sizes.values())
    assert all(not (model.state_dict()[name] == 0).all() for name in dense if name.endswith(".weight"))


def test_global_scope_counts_over_all_tensors() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(scope="global")), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(6))
    total = sum(linear.weight.numel() for linear in encoder_linears(model).values())
    assert sum(zeros(model).values()) == total * 7 // 10
    assert len({count / encoder_linears(model)[name].weight.numel() for name, count in zeros(model).items()}) > 1


def reference_loop(model: nn.Module, make_optimizer: MakeOptimizer, config, steps: int, accumulate: int = 1) -> dict:
    """The authors' way: dense weights, multiplied by the mask in the forward pass; the optimizer moves all of them."""
    optimizer = make_optimizer(model)
    linears = encoder_linears(model)
    masks = {name: torch.ones_like(linear.weight) for name, linear in linears.items()}

    def select(step: int) -> None:
        from pruneofa.sparsity.schedule import sparsity_at

        if not is_update(step, config):
            return
        for name, linear in linears.items():
            count = math.floor(sparsity_at(step, config) * linear.weight.numel())
            order = linear.weight.detach().abs().flatten().sort(stable=True).indices
            masks[name] = (
                torch.ones_like(linear.weight).flatten().index_fill_(0, order[:count], 0).view_as(linear.weight)
            )

    class Masked(nn.Module):
        def forward(self, **inputs):
            weights = {f"{name}.weight": linear.weight * masks[name] for name, linear in linears.items()}
            return functional_call(model, weights, kwargs=inputs)

    select(0)
    for step in range(steps):
        for part in range(accumulate):
            loss_of(Masked(), step * accumulate + part).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        select(step + 1)
    return masks


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moves_as_the_authors_code(name: str, dtype: torch.dtype, accumulate: int) -> None:
    """Bit for bit, the values under the mask included; some weights come back on the way."""
    config = ramp(target_sparsity=0.6, end_step=8, freeze_step=12)
    reference, model = classifier().to(dtype), classifier().to(dtype)
    steps = 11  # short of freezing, so that the values under the mask are there to compare
    expected = reference_loop(reference, OPTIMIZERS[name], config, steps, accumulate)

    pruner, optimizer = Pruner(model, config), OPTIMIZERS[name](model)
    pruner.attach(optimizer)
    came_back = 0
    for step in range(steps):
        for part in range(accumulate):
            loss_of(model, step * accumulate + part).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        before = {module: pruner.masks[module] for module in pruner.masks}
        pruner.step()
        came_back += sum(int((pruner.masks[module] & ~before[module]).sum()) for module in before)
    assert came_back > 0
    hidden = pruner.state_dict()["hidden"]
    for module, weight in pruner.masks.weights():
        mask = pruner.masks[module]
        assert torch.equal(mask, expected[module].bool())
        dense = encoder_linears(reference)[module].weight
        assert torch.equal(weight[mask], dense[mask])
        assert torch.equal(hidden[module], dense[~mask])
    assert torch.equal(model.classifier.weight, reference.classifier.weight)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_gradients_are_masked_before_the_norm_is_taken(family: str) -> None:
    model = classifier(family)
    pruner = Pruner(model, ramp(end_step=0, freeze_step=0))
    pruner.attach(adamw(model))
    plain = copy.deepcopy(model)
    loss_of(plain, 0).backward()
    unmasked = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()])
    for name, linear in encoder_linears(plain).items():
        linear.weight.grad[~pruner.masks[name]] = 0.0
    expected = torch.nn.utils.get_total_norm([p.grad for p in plain.parameters()])
    norm = backward_and_clip(model, 0)
    assert norm == pytest.approx(float(expected), rel=1e-6)
    assert norm < 0.999 * unmasked
    for name, weight in pruner.masks.weights():
        assert not weight_bits(weight.grad)[~pruner.masks[name]].any()


def test_an_overflowed_gradient_under_the_mask_does_no_harm() -> None:
    model = classifier()
    pruner = Pruner(model, ramp(end_step=0))
    pruner.attach(adamw(model))
    name, weight = next(pruner.masks.weights())
    (weight * torch.where(pruner.masks[name], 1.0, float("nan"))).sum().backward()
    assert weight.grad.isfinite().all()
    assert not weight_bits(weight.grad)[~pruner.masks[name]].any()


@pytest.mark.parametrize("case", ["autocast", "bfloat16 parameters", "sgd", "frozen layer"])
def test_zeros_stay_zeros(case: str) -> None:
    model = classifier()
    if case == "bfloat16 parameters":
        model = model.bfloat16()
    if case == "frozen layer":
        model.bert.encoder.layer[0].requires_grad_(False)
    optimizer = sgd(model) if case == "sgd" else adamw(model)
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        train(model, pruner, optimizer, range(14), lambda: assert_masked(pruner))
    assert pruner.frozen
    assert zeros(model) == {n: m.weight.numel() * 7 // 10 for n, m in encoder_linears(model).items()}


def test_a_closure_sees_the_masked_weights() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3))
    twin = copy.deepcopy(model)
    losses = []

    def closure() -> torch.Tensor:
        assert_masked(pruner)
        optimizer.zero_grad()
        loss = loss_of(model, 3)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    assert_masked(pruner)
    optimizer.step(closure=closure)
    assert losses[0] == loss_of(twin, 3).item()
    assert len(losses) == 2


def test_an_interrupted_optimizer_step_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, twin = classifier(), classifier()
    pruners = []
    for one in (model, twin):
        pruner, optimizer = Pruner(one, ramp()), sgd(one)
        pruner.attach(optimizer)
        train(one, pruner, optimizer, range(3))
        backward_and_clip(one, 3)
        pruners.append((pruner, optimizer))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["torch.optim.sgd"], "sgd", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pruners[0][1].step()
    for pruner, optimizer in pruners:
        optimizer.step()
        pruner.step()
        assert_masked(pruner)
    assert same_state(model, twin)


def test_hidden_values_go_at_freezing_and_masks_rest() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(7))
    assert not pruner.frozen
    assert pruner.state_dict()["hidden"]
    train(model, pruner, optimizer, range(7, 8))
    assert pruner.frozen
    assert pruner.state_dict()["hidden"] == {}
    masks = {name: pruner.masks[name].clone() for name in pruner.masks}
    train(model, pruner, optimizer, range(8, 14), lambda: assert_masked(pruner))
    assert all(torch.equal(pruner.masks[name], masks[name]) for name in masks)


def test_a_cut_at_once_is_made_when_attached() -> None:
    model = classifier()
    pruner = Pruner(model, ramp(end_step=0, freeze_step=None))
    assert pruner.sparsity == 0.0
    pruner.attach(adamw(model))
    assert pruner.frozen
    assert zeros(model) == {n: m.weight.numel() * 7 // 10 for n, m in encoder_linears(model).items()}


def test_weights_replaced_after_attach_stay_masked() -> None:
    """Sharding puts new parameters into the modules and into the optimizer's groups."""
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3))
    old = [weight for _, weight in pruner.masks.weights()]
    for linear in encoder_linears(model).values():
        linear.weight = nn.Parameter(linear.weight.detach().clone())
    optimizer.param_groups[0]["params"] = list(model.parameters())
    train(model, pruner, optimizer, range(3, 5), lambda: assert_masked(pruner))
    backward_and_clip(model, 5)
    for name, weight in pruner.masks.weights():
        assert all(weight is not one for one in old)
        assert not weight.grad[~pruner.masks[name]].any()
    # Old parameters are let go of: their gradients are no longer touched.
    old[0].sum().backward()
    assert (old[0].grad == 1).all()


def test_a_new_optimizer_over_replaced_weights() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3))
    for linear in encoder_linears(model).values():
        linear.weight = nn.Parameter(linear.weight.detach().clone())
    optimizer = adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3, 12), lambda: assert_masked(pruner))
    assert zeros(model) == {n: m.weight.numel() * 7 // 10 for n, m in encoder_linears(model).items()}


def test_masks_cost_one_byte_a_weight_and_one_bit_in_the_state() -> None:
    model = classifier()
    pruner = Pruner(model, ramp())
    size = sum(linear.weight.numel() for linear in encoder_linears(model).values())
    assert sum(pruner.masks[name].nbytes for name in pruner.masks) == size
    assert sum(packed.nbytes for packed in pruner.state_dict()["masks"].values()) == size // 8


def test_default_targets_leave_pooler_and_head() -> None:
    model = classifier()
    assert list(Pruner(model, ramp()).masks) == list(encoder_linears(model))
    with_pooler = list(Pruner(model, ramp(prune_pooler=True)).masks)
    assert with_pooler == [*encoder_linears(model), *pooler_linears(model)]


def test_targets_and_ignore() -> None:
    model = classifier()
    config = ramp(targets=["*.query", "re:.*intermediate\\.dense"], ignore=["*layer.0*"])
    assert list(Pruner(model, config).masks) == [
        "bert.encoder.layer.1.attention.self.query",
        "bert.encoder.layer.1.intermediate.dense",
    ]
    assert list(Pruner(model, ramp(targets=["classifier"])).masks) == ["classifier"]
    assert len(Pruner(model, ramp(ignore=["*layer.0*"])).masks) == 6


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"pattern '\*\.qeury' matches no module; nearest modules: .*query"):
        Pruner(classifier(), ramp(targets=["*.qeury"]))
    with pytest.raises(ConfigurationError, match="exclude every module"):
        Pruner(classifier(), ramp(ignore=["*"]))


def test_tied_weights_are_refused() -> None:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_config(copy.deepcopy(CONFIGS["bert"]))
    with pytest.raises(ConfigurationError, match=r"weight of 'cls\.predictions\.decoder' is shared with .*embeddings"):
        Pruner(model, ramp(targets=["*decoder"]))


def test_a_parametrized_weight_is_refused() -> None:
    model = classifier()
    nn.utils.parametrizations.orthogonal(model.bert.encoder.layer[0].attention.self.query)
    with pytest.raises(ConfigurationError, match=r"query' is a Tensor, not a parameter"):
        Pruner(model, ramp())


def test_step_without_an_optimizer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"call pruner\.attach\(optimizer\) first"):
        Pruner(classifier(), ramp()).step()


def test_a_second_pruner_is_refused_until_the_first_lets_go() -> None:
    model = classifier()
    first = Pruner(model, ramp())
    first.attach(adamw(model))
    with pytest.raises(ConfigurationError, match="already has a Pruner attached to an optimizer; call its detach"):
        Pruner(model, ramp())
    first.detach()
    Pruner(model, ramp()).attach(adamw(model))


def test_diverged_weights_leave_the_model_masked() -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3))
    name, weight = next(pruner.masks.weights())
    with torch.no_grad():
        weight[pruner.masks[name]] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        pruner.step()
    assert_masked(pruner)

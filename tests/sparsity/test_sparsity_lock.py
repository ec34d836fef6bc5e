import copy

import pytest
import torch
from sparsity_models import CONFIGS, adamw, assert_masked, backward_and_clip, classifier, ramp, sgd, train, weight_bits
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.ownership import current_owner
from pruneofa.sparsity.pruner import Pruner


def sparse(family: str = "bert") -> nn.Module:
    """A model with 70 % zeros in each Linear of its encoder, as one loads it from disk."""
    model = classifier(family)
    pruner = Pruner(model, ramp(end_step=0, freeze_step=None))
    pruner.attach(adamw(model))
    return copy.deepcopy(model)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("case", ["adamw", "sgd", "autocast", "bfloat16 parameters"])
def test_the_pattern_is_the_same_after_training(family: str, case: str) -> None:
    model = sparse(family)
    if case == "bfloat16 parameters":
        model = model.bfloat16()
    before = {name: linear.weight.detach().clone() for name, linear in encoder_linears(model).items()}
    optimizer = sgd(model) if case == "sgd" else adamw(model)
    lock = lock_pattern(model, optimizer)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        train(model, lock, optimizer, range(6), lambda: assert_masked(lock))
    for name, linear in encoder_linears(model).items():
        assert torch.equal(weight_bits(linear.weight) == 0, weight_bits(before[name]) == 0)
        assert not torch.equal(linear.weight, before[name])
    assert lock.sparsity == lock.target == pytest.approx(0.7, abs=0.01)


def test_gradients_are_masked_before_the_norm_is_taken() -> None:
    model = sparse()
    lock_pattern(model, adamw(model))
    backward_and_clip(model, 0)
    for linear in encoder_linears(model).values():
        assert not weight_bits(linear.weight.grad)[linear.weight == 0].any()


def test_a_sparse_pooler_is_locked_and_a_dense_one_is_not() -> None:
    model = sparse()
    assert "bert.pooler.dense" not in lock_pattern(model).masks
    with torch.no_grad():
        model.bert.pooler.dense.weight[:8] = 0.0
    model = copy.deepcopy(model)
    assert "bert.pooler.dense" in lock_pattern(model).masks


def test_negative_zeros_become_plain_ones() -> None:
    model = sparse()
    for linear in encoder_linears(model).values():
        with torch.no_grad():
            linear.weight[linear.weight == 0] = -0.0
    assert_masked(lock_pattern(model))


@pytest.mark.parametrize("steps", [3, 12])
def test_takes_over_from_a_pruner(steps: int) -> None:
    model = classifier()
    pruner, optimizer = Pruner(model, ramp()), adamw(model)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(steps))
    masks = {name: pruner.masks[name].clone() for name in pruner.masks}
    lock = lock_pattern(model, optimizer)
    assert current_owner(model) is lock
    assert not pruner.attached
    assert pruner.frozen
    assert pruner.state_dict()["hidden"] == {}
    with pytest.raises(ConfigurationError, match="no optimizer is attached"):
        pruner.step()
    assert len(optimizer._optimizer_step_pre_hooks) == len(optimizer._optimizer_step_post_hooks) == 1
    assert all(len(weight._post_accumulate_grad_hooks) == 1 for _, weight in lock.masks.weights())
    train(model, lock, optimizer, range(steps, steps + 4), lambda: assert_masked(lock))
    assert list(lock.masks) == list(masks)
    assert all(torch.equal(lock.masks[name], masks[name]) for name in masks)


def test_takes_over_a_kept_weight_that_happens_to_be_zero() -> None:
    """What a pruner keeps may grow, also from zero."""
    model = classifier()
    pruner, optimizer = Pruner(model, ramp(end_step=0)), adamw(model)
    pruner.attach(optimizer)
    name, weight = next(pruner.masks.weights())
    row, column = pruner.masks[name].nonzero()[0].tolist()
    with torch.no_grad():
        weight[row, column] = 0.0
    lock = lock_pattern(model, optimizer)
    train(model, lock, optimizer, range(2))
    assert weight[row, column] != 0


def test_takes_over_from_a_pruner_of_a_wrapped_model() -> None:
    model = classifier()
    pruner = Pruner(nn.DataParallel(model), ramp(end_step=0))
    pruner.attach(adamw(model))
    lock = lock_pattern(torch.compile(model))
    assert list(lock.masks) == list(pruner.masks) == list(encoder_linears(model))


def test_a_second_lock_replaces_the_first() -> None:
    model = sparse()
    optimizer = adamw(model)
    first = lock_pattern(model, optimizer)
    second = lock_pattern(model, optimizer)
    assert not first.attached
    assert len(optimizer._optimizer_step_post_hooks) == 1
    train(model, second, optimizer, range(3), lambda: assert_masked(second))


def test_a_lock_that_nobody_holds_goes_on() -> None:
    model = sparse()
    optimizer = adamw(model)
    lock_pattern(model, optimizer)
    masks = {name: linear.weight != 0 for name, linear in encoder_linears(model).items()}
    backward_and_clip(model, 0)
    optimizer.step()
    assert isinstance(current_owner(model), PatternLock)
    assert all(not linear.weight[~masks[name]].any() for name, linear in encoder_linears(model).items())


def test_detaching_ends_it() -> None:
    model = sparse()
    optimizer = adamw(model)
    lock = lock_pattern(model, optimizer)
    lock.detach()
    train(model, lock, optimizer, range(1))
    assert any((weight[~lock.masks[name]] != 0).any() for name, weight in lock.masks.weights())


def test_replaced_weights_stay_masked() -> None:
    model = sparse()
    optimizer = adamw(model)
    lock = lock_pattern(model, optimizer)
    train(model, lock, optimizer, range(2))
    for linear in encoder_linears(model).values():
        linear.weight = nn.Parameter(linear.weight.detach().clone())
    optimizer = adamw(model)
    lock.attach(optimizer)
    train(model, lock, optimizer, range(2, 5), lambda: assert_masked(lock))


def test_the_state_has_one_bit_a_weight() -> None:
    lock = lock_pattern(sparse())
    size = sum(lock.masks[name].numel() for name in lock.masks)
    assert sum(packed.nbytes for packed in lock.state_dict()["masks"].values()) == size // 8


def test_a_dense_model_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no Linear layer of the encoder has a zero weight"):
        lock_pattern(classifier())
    model = classifier()
    pruner = Pruner(model, ramp())
    optimizer = adamw(model)
    pruner.attach(optimizer)
    with pytest.raises(ConfigurationError, match="no Linear layer"):
        lock_pattern(model)
    assert pruner.attached

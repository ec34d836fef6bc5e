"""Zeros stay zeros whatever trains or overwrites the weights; what was overwritten is put back, with a warning."""

import copy
import io
import logging
from collections.abc import Iterator

import pytest
import torch
from sparsity_models import adamw, assert_masked, backward_and_clip, classifier, loss_of, ramp, same_state, sgd, train
from torch import nn

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.lock import PatternLock, lock_pattern
from pruneofa.sparsity.ownership import current_owner, mend_zeros, zeros_mended
from pruneofa.sparsity.pruner import Pruner


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation as it is commonly written: two steps of its own around another optimizer."""

    def __init__(self, model: nn.Module, rho: float = 0.05) -> None:
        super().__init__(model.parameters(), {"rho": rho})
        self.base_optimizer = torch.optim.AdamW(self.param_groups, lr=1e-2)

    @torch.no_grad()
    def first_step(self) -> None:
        for parameter in self._trained():
            self.state[parameter]["old"] = parameter.data.clone()
            parameter.add_(parameter.grad * self.defaults["rho"])
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for parameter in self._trained():
            parameter.data = self.state[parameter]["old"]
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure=None) -> None:
        self.first_step()
        torch.enable_grad()(closure)()
        self.second_step()

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]


class Unseen(torch.optim.Optimizer):
    """Updates without `step()`, through `.data` or not."""

    def __init__(self, model: nn.Module, through_data: bool = False) -> None:
        super().__init__(model.parameters(), {})
        self._through_data = through_data

    @torch.no_grad()
    def update(self) -> None:
        for parameter in self.param_groups[0]["params"]:
            (parameter.data if self._through_data else parameter).add_(0.01)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The warnings so far; filled as they come."""
    logging.getLogger("pruneofa").propagate = True
    with caplog.at_level(logging.WARNING, logger="pruneofa"):
        yield _Messages(caplog)


class _Messages(list):
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__()
        self._caplog = caplog

    def __len__(self) -> int:
        return len(self._caplog.messages)

    def __getitem__(self, index):
        return self._caplog.messages[index]


def zeros(model: nn.Module) -> int:
    return sum(int((linear.weight == 0).sum()) for linear in encoder_linears(model).values())


def pruned(optimizer: torch.optim.Optimizer | None = None, model: nn.Module | None = None) -> tuple[nn.Module, Pruner]:
    """A model whose pruner has frozen its masks, with the optimizer that it was trained by."""
    model = classifier() if model is None else model
    optimizer = adamw(model) if optimizer is None else optimizer
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(9))
    return model, pruner


def sparse() -> nn.Module:
    return copy.deepcopy(pruned()[0])


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    backward_and_clip(model, step)
    optimizer.step()
    optimizer.zero_grad()


def test_a_lock_without_an_optimizer_takes_over_the_one_of_the_pruner() -> None:
    """The loop that README shows: the optimizer has momentum of the time before."""
    model = classifier()
    optimizer = adamw(model)
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(4))
    lock_pattern(model)
    lock = current_owner(model)
    before = zeros(model)
    for step in range(5):
        plain_step(model, optimizer, step)
        assert_masked(lock)
    assert zeros(model) == before > 0
    assert lock.attached


@pytest.mark.parametrize("make_optimizer", [adamw, sgd])
def test_a_lock_without_an_optimizer_holds_through_any_that_comes(make_optimizer, warnings) -> None:
    model = sparse()
    before = zeros(model)
    lock_pattern(model)
    optimizer = make_optimizer(model)
    for step in range(3):
        plain_step(model, optimizer, step)
        assert zeros(model) == before
    again = make_optimizer(model)
    for step in range(3):
        plain_step(model, again, step)
        assert zeros(model) == before
    assert not len(warnings)


def test_a_lock_without_an_optimizer_holds_where_the_optimizer_has_momentum_already() -> None:
    model = sparse()
    optimizer = sgd(model)
    for step in range(2):  # nothing is locked: the momentum of what is zero grows
        backward_and_clip(model, step)
        optimizer.step()
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight[linear.weight.abs() < linear.weight.abs().median()] = 0.0
    before = zeros(model)
    lock = lock_pattern(model)
    plain_step(model, optimizer, 2)
    assert zeros(model) == before
    assert_masked(lock)


def test_gradients_are_masked_without_an_optimizer_too() -> None:
    model = sparse()
    lock = lock_pattern(model)
    loss_of(model, 0).backward()
    assert all(not weight.grad[~lock.masks[name]].any() for name, weight in lock.masks.weights())


def test_a_pruner_without_an_optimizer_is_told_of_at_the_first_step(warnings) -> None:
    model = classifier()
    pruner = Pruner(model, ramp())
    optimizer = adamw(model)
    plain_step(model, optimizer, 0)
    plain_step(model, optimizer, 1)
    assert len(warnings) == 1
    assert "no optimizer is attached" in warnings[0]
    assert "pruner.attach(optimizer)" in warnings[0]
    assert pruner.sparsity == 0.0


def test_optimizers_of_other_models_are_left_alone() -> None:
    model, other = sparse(), classifier()
    lock = lock_pattern(model)
    plain_step(other, adamw(other), 0)
    assert not lock.attached


def test_what_is_no_optimizer_of_torch_is_refused() -> None:
    class Plain:
        def step(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"optimizer is a Plain; allowed: a torch\.optim\.Optimizer"):
        lock_pattern(sparse(), Plain())


@pytest.mark.parametrize("closure", [True, False])
def test_two_steps_around_another_optimizer_prune_and_lock(closure: bool) -> None:
    """The pruner sees the steps of the optimizer inside."""
    model = classifier()
    optimizer = Sam(model)
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)

    def train_sam(keeper: Pruner | PatternLock, steps: range) -> None:
        for step in steps:
            loss_of(model, step).backward()
            if closure:
                optimizer.step(lambda step=step: loss_of(model, step).backward())
            else:
                optimizer.first_step()
                loss_of(model, step).backward()
                optimizer.second_step()
            assert_masked(keeper)
            keeper.step()
            assert_masked(keeper)

    train_sam(pruner, range(4))
    hidden = pruner.state_dict()["hidden"]
    assert all(values.abs().min() > 0 for values in hidden.values())  # the dense values were kept, not lost
    train_sam(pruner, range(4, 9))
    expected = sum(linear.weight.numel() * 7 // 10 for linear in encoder_linears(model).values())
    assert zeros(model) == expected
    train_sam(lock_pattern(model, optimizer), range(9, 12))
    assert zeros(model) == expected


@pytest.mark.parametrize("through_data", [True, False])
def test_an_optimizer_that_never_steps_is_noticed_at_the_next_step_of_the_pruner(through_data: bool, warnings) -> None:
    model = classifier()
    optimizer = Unseen(model, through_data)
    pruner = Pruner(model, ramp(end_step=3, freeze_step=None, update_every=1))
    pruner.attach(optimizer)
    for _ in range(5):
        optimizer.update()
        if through_data and pruner.frozen:
            mend_zeros(model, "saving")  # such a write leaves no trace, so it is found here at the latest
        else:
            pruner.step()
            if not through_data:
                assert_masked(pruner)
    assert_masked(pruner)
    assert len(warnings) > 0
    assert "without step()" in warnings[0] or "after the last step" in warnings[0]


def test_a_lock_notices_an_optimizer_that_never_steps(warnings) -> None:
    model = sparse()
    before = zeros(model)
    optimizer = Unseen(model)
    lock = lock_pattern(model, optimizer)
    optimizer.update()
    lock.step()
    assert zeros(model) == before
    assert len(warnings) == 1


@pytest.mark.parametrize("through_data", [True, False])
def test_a_dense_state_that_is_loaded_is_masked_at_the_next_step(through_data: bool, warnings) -> None:
    model = sparse()
    before, optimizer = zeros(model), adamw(model)
    lock_pattern(model, optimizer)
    plain_step(model, optimizer, 0)
    dense = classifier(seed=1)
    if through_data:  # as the packages for averaged weights do
        for parameter, other in zip(model.parameters(), dense.parameters(), strict=True):
            parameter.data.copy_(other.data)
    else:
        model.load_state_dict(dense.state_dict())
    assert zeros(model) == 0
    plain_step(model, optimizer, 1)
    assert zeros(model) == before
    assert len(warnings) == 1
    assert "before optimizer.step()" in warnings[0]


@pytest.mark.parametrize("through_data", [True, False])
def test_a_state_that_is_loaded_while_pruning_becomes_the_dense_values(through_data: bool, warnings) -> None:
    """Not mixed with those that it replaces."""
    model, optimizer = classifier(), None
    optimizer = sgd(model)
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(3))
    dense = classifier(seed=1)
    if through_data:
        for parameter, other in zip(model.parameters(), dense.parameters(), strict=True):
            parameter.data.copy_(other.data)
    else:
        model.load_state_dict(dense.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    plain_step(model, optimizer, 3)
    assert_masked(pruner)
    hidden = pruner.state_dict()["hidden"]
    for name, linear in encoder_linears(dense).items():
        mask = pruner.masks[name]
        assert torch.equal(model.get_submodule(name).weight[mask], linear.weight[mask])
        assert torch.equal(hidden[name], linear.weight[~mask])
    assert len(warnings) == 1


def test_an_earlier_state_that_is_restored_keeps_the_masks_of_now(warnings) -> None:
    model = classifier()
    optimizer = adamw(model)
    pruner = Pruner(model, ramp())
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(1))
    earlier = copy.deepcopy(model.state_dict())
    train(model, pruner, optimizer, range(1, 9))
    model.load_state_dict(earlier)
    assert mend_zeros(model, "saving") > 0
    assert_masked(pruner)
    assert mend_zeros(model, "saving") == 0
    assert len(warnings) == 1


def test_averaged_weights_are_told_of_and_can_be_given_the_zeros(warnings) -> None:
    model = classifier()
    optimizer = adamw(model)
    pruner = Pruner(model, ramp())
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    pruner.attach(optimizer)
    for step in range(9):
        train(model, pruner, optimizer, range(step, step + 1))
        averaged.update_parameters(model)
    lost = mend_zeros(averaged.module, "saving")
    assert lost > 0
    assert "is a copy of one whose masks hold 69" in warnings[0]
    pruner.move_to(averaged.module)
    assert zeros(averaged.module) == zeros(model)
    assert mend_zeros(averaged.module, "saving") == 0


def test_a_copy_that_is_dense_on_purpose_stays_so(warnings) -> None:
    model = classifier()
    optimizer = adamw(model)
    pruner = Pruner(model, ramp())
    teacher = copy.deepcopy(model)
    before = copy.deepcopy(teacher)
    pruner.attach(optimizer)
    train(model, pruner, optimizer, range(9))
    with zeros_mended(teacher, "saving"):
        assert same_state(teacher, before)
    assert "if it is meant to be dense, all is well" in warnings[0]
    mend_zeros(before, "saving")  # a copy of a copy is told of no more
    assert len(warnings) == 1


def test_a_detached_lock_gives_the_zeros_up_with_a_word(warnings) -> None:
    model = sparse()
    before = zeros(model)
    optimizer = sgd(model)
    lock = lock_pattern(model, optimizer)
    lock.detach()
    assert mend_zeros(model, "saving") == 0
    plain_step(model, optimizer, 0)
    dense = copy.deepcopy(model.state_dict())
    assert mend_zeros(model, "saving") > 0
    assert all(torch.equal(value, dense[name]) for name, value in model.state_dict().items())
    assert "the detached PatternLock" in warnings[0]
    lock.attach(optimizer)
    assert zeros(model) == before


def test_a_model_of_a_weight_file_or_pickle_has_no_owner() -> None:
    model = sparse()
    lock_pattern(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert current_owner(loaded) is None
    assert mend_zeros(loaded, "saving") == 0


def test_untouched_weights_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a plain run one weight is looked at before each step, not all of them."""
    model = sparse()
    optimizer = adamw(model)
    lock = lock_pattern(model, optimizer)
    looked_at = []
    lost = lock.masks.lost
    monkeypatch.setattr(lock.masks, "lost", lambda names=None: looked_at.append(names) or lost(names))
    train(model, lock, optimizer, range(4))
    assert [len(names) for names in looked_at] == [1] * 4
    assert len({tuple(names) for names in looked_at}) == 4


@pytest.mark.parametrize("begin_step", [0, 2])
def test_pruning_a_sparse_model_starts_from_its_zeros(begin_step: int) -> None:
    model = sparse()
    pattern = {name: linear.weight == 0 for name, linear in encoder_linears(model).items()}
    start = zeros(model)
    pruner = Pruner(model, ramp(target_sparsity=0.9, begin_step=begin_step, end_step=6, freeze_step=None))
    optimizer = adamw(model)
    pruner.attach(optimizer)
    seen = []

    def check() -> None:
        assert_masked(pruner)
        seen.append(zeros(model))
        assert all(not linear.weight[pattern[name]].any() for name, linear in encoder_linears(model).items())

    check()
    train(model, pruner, optimizer, range(7), check)
    assert seen == sorted(seen)
    assert seen[0] == start
    assert zeros(model) == sum(linear.weight.numel() * 9 // 10 for linear in encoder_linears(model).values())


def test_a_target_below_the_zeros_that_are_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"target_sparsity is 0\.5, but .* pruned already.*69\.92 %"):
        Pruner(sparse(), ramp(target_sparsity=0.5))
    with pytest.raises(ConfigurationError, match=r"the model has 69\.\d\d % zeros"):
        Pruner(sparse(), ramp(target_sparsity=0.5, scope="global"))
    Pruner(sparse(), ramp(target_sparsity=0.7))


@pytest.mark.slow
def test_pruning_a_sparse_model_resumes_on_the_same_ramp() -> None:
    """Also where the resumed model is sparser than the one that pruning began with."""
    config = ramp(target_sparsity=0.9, end_step=6, freeze_step=None, update_every=1)
    whole, broken = sparse(), sparse()
    for model, steps in ((whole, range(7)), (broken, range(3))):
        pruner, optimizer = Pruner(model, config), sgd(model)
        pruner.attach(optimizer)
        train(model, pruner, optimizer, steps)
    state, momentum = pruner.state_dict(), optimizer.state_dict()
    resumed = copy.deepcopy(broken)
    pruner, optimizer = Pruner(resumed, config), sgd(resumed)
    optimizer.load_state_dict(momentum)
    pruner.load_state_dict(state)
    pruner.attach(optimizer)
    train(resumed, pruner, optimizer, range(3, 7))
    assert same_state(resumed, whole)


def test_a_weight_that_is_zero_as_a_whole_is_not_locked() -> None:
    """An adapter's second matrix before it has learned."""
    model = sparse()
    layer = model.bert.encoder.layer[0]
    layer.adapter = nn.Linear(16, 4, bias=False)
    nn.init.zeros_(layer.adapter.weight)
    assert not any("adapter" in name for name in lock_pattern(model).masks)


def test_a_few_zeros_make_no_sparse_model() -> None:
    model = classifier()
    with torch.no_grad():
        for linear in encoder_linears(model).values():
            linear.weight[:1, :4] = 0.0
    pruner = Pruner(model, ramp(target_sparsity=0.0))
    assert pruner.sparsity == 0.0

"""Learning-rate rewinding: the rate is high again when weights have just been pruned.

Both kinds are multipliers of the optimizer's own rate, made into schedulers that stand beside the library's.
"""

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pruneofa.errors import ConfigurationError


def sawtooth_multiplier(
    step: int, *, total_steps: int, warmup_steps: int, begin_step: int, end_step: int, interval: int
) -> float:
    """The authors' rewinding: a linear decay whose clock steps back by one interval at every pruning event.

    With N total steps, W of warm-up and P = end - begin: t/W in warm-up, then (N - P - t)/(N - P - W), to which every
    event up to `end_step` gives an interval back, and (N - t)/(N - P - W) from there on; N > P + W. Not clipped above:
    where pruning begins before the warm-up ends it passes 1 (PruneOFA, section 3; values in docs/method.md).
    """
    if step < warmup_steps:
        return step / warmup_steps
    pruning_steps = end_step - begin_step
    if step < begin_step:
        remaining = total_steps - pruning_steps - step
    elif step < end_step:
        remaining = total_steps - pruning_steps - step + (step - begin_step) // interval * interval
    else:
        remaining = total_steps - step
    return max(0.0, remaining / (total_steps - pruning_steps - warmup_steps))


def cyclic_multiplier(
    step: int,
    *,
    total_steps: int,
    warmup_steps: int,
    begin_step: int,
    end_step: int,
    interval: int,
    final_ratio: float = 0.01,
) -> float:
    """Full rewinding: from 1 down to `final_ratio` in every interval of the ramp, then once more to the end.

    oBERT's upstream recipe (5e-4 to 5e-6 in each quarter of an epoch) is this with `final_ratio` 0.01.
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step < begin_step:
        return 1.0
    if step < end_step:
        start = begin_step + (step - begin_step) // interval * interval
        stop = min(start + interval, end_step)
    else:
        start, stop = end_step, total_steps
    progress = min(1.0, (step - start) / max(1, stop - start))
    return 1.0 - (1.0 - final_ratio) * progress


_MULTIPLIERS = {"rewinding": sawtooth_multiplier, "rewinding_cycles": cyclic_multiplier}
REWINDING_SCHEDULES = tuple(_MULTIPLIERS)


def multiplier_of(kind: str, step: int, **schedule: int) -> float:
    """The multiplier of a rewinding schedule after `step` steps; further arguments as of `get_rewinding_schedule`.

    Raises:
        ConfigurationError: the kind is unknown.
    """
    if kind not in _MULTIPLIERS:
        raise ConfigurationError(f"lr_scheduler_type is {kind!r}; allowed: {', '.join(REWINDING_SCHEDULES)}")
    return _MULTIPLIERS[kind](step, **schedule)


def get_rewinding_schedule(
    optimizer: Optimizer,
    kind: str,
    *,
    total_steps: int,
    warmup_steps: int,
    begin_step: int,
    end_step: int,
    interval: int,
    last_epoch: int = -1,
) -> LambdaLR:
    """A scheduler that rewinds; step it once after each `optimizer.step()`.

    Args:
        optimizer: its groups' rates are what the multiplier applies to.
        kind: "rewinding" (the authors' sawtooth) or "rewinding_cycles".
        total_steps: N, all optimizer steps of the run.
        warmup_steps: W, steps of linear warm-up from zero.
        begin_step: first step of pruning.
        end_step: step at which the target sparsity is reached.
        interval: steps between re-selections of the mask.
        last_epoch: index of the last step when resuming.

    Raises:
        ConfigurationError: the kind is unknown, or the sawtooth has no steps left to decay over: N - (end - begin) - W
            is not positive.
    """
    if kind not in _MULTIPLIERS:
        raise ConfigurationError(f"lr_scheduler_type is {kind!r}; allowed: {', '.join(REWINDING_SCHEDULES)}")
    if kind == "rewinding" and total_steps - (end_step - begin_step) - warmup_steps <= 0:
        raise ConfigurationError(
            f"rewinding: pruning from step {begin_step} to {end_step} and {warmup_steps} steps of warm-up leave none "
            f"of the run's {total_steps} to decay over; lower end_step or warmup_ratio, train longer, or choose "
            "rewinding_cycles"
        )
    multiplier = partial(
        _MULTIPLIERS[kind],
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        begin_step=begin_step,
        end_step=end_step,
        interval=interval,
    )
    return LambdaLR(optimizer, multiplier, last_epoch)

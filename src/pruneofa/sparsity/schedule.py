"""When to prune and how much: the cubic schedule of gradual magnitude pruning."""

from pruneofa.sparsity.config import SparsityConfig


def cubic_sparsity(step: int, *, initial: float, target: float, begin_step: int, end_step: int) -> float:
    """Sparsity wanted after `step` optimizer steps (Zhu & Gupta 2017, equation 1; PruneOFA, section 3).

    `s(t) = s_f + (s_i - s_f) * (1 - (t - t0)/(t1 - t0))^3`, `initial` before `begin_step` and exactly `target` from
    `end_step` on.
    """
    if step >= end_step:
        return target
    if step <= begin_step:
        return initial
    progress = (step - begin_step) / (end_step - begin_step)
    return min(target, initial + (target - initial) * (1.0 - (1.0 - progress) ** 3))


def sparsity_at(step: int, config: SparsityConfig, start: float = 0.0) -> float:
    """Sparsity that `config` wants after `step` optimizer steps.

    Args:
        step: completed steps.
        config: the schedule.
        start: of the model as it came; it holds before `begin_step`, and the ramp never lies below it.
    """
    if step < config.begin_step:
        return start
    return cubic_sparsity(
        step,
        initial=min(max(config.initial_sparsity, start), config.target_sparsity),
        target=config.target_sparsity,
        begin_step=config.begin_step,
        end_step=config.end_step,
    )


def is_update(step: int, config: SparsityConfig) -> bool:
    """Whether the masks are re-selected after `step` optimizer steps.

    True on `begin_step` and every `update_every` steps after it until `freeze_step`, and on `end_step` itself, also
    where that is no multiple of the interval.
    """
    if not config.begin_step <= step <= config.last_update:
        return False
    return step == config.end_step or (step - config.begin_step) % config.update_every == 0

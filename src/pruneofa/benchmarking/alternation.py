"""Taking turns: every contestant once in each round, each round on another input, starting with another contestant."""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Times", "alternate", "percentile", "rounds"]


@dataclass(frozen=True)
class Times:
    """Seconds of a contestant's calls, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """95 % took no longer."""
        return percentile(self.seconds, 0.95)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def rounds(contestants: int, repeats: int, inputs: int, seed: int = 0) -> Iterator[tuple[int, list[int]]]:
    """For each round the input that all compute, and the contestants in the order of their turns.

    The order moves on by one from round to round, so that nobody always follows the same one. Inputs come in a fresh
    random order each time that all have been used.

    Args:
        contestants: How many.
        repeats: Rounds.
        inputs: How many there are to choose from.
        seed: Of the inputs' order.
    """
    draw = random.Random(seed)
    waiting: list[int] = []
    for number in range(repeats):
        if not waiting:
            waiting = draw.sample(range(inputs), inputs)
        yield waiting.pop(), [(number + place) % contestants for place in range(contestants)]


def alternate(
    calls: Sequence[Callable[[int], float]],
    *,
    repeats: int,
    inputs: int,
    seconds: float,
    min_repeats: int = 1,
    pause: float = 0.0,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Times]:
    """Time calls by turns.

    Args:
        calls: Each takes the number of an input and returns the seconds that it took.
        repeats: Rounds at most.
        inputs: Number of inputs.
        seconds: No further round begins after this time.
        min_repeats: But so many are done in any case.
        pause: Before each call.
        seed: Of the inputs' order.
        clock: What tells the time.

    Returns:
        For each of `calls` its times; all have the same number.
    """
    found: list[list[float]] = [[] for _ in calls]
    started = clock()
    for done, (number, order) in enumerate(rounds(len(calls), repeats, inputs, seed)):
        if done >= min_repeats and clock() - started > seconds:
            break
        for place in order:
            time.sleep(pause)
            found[place].append(calls[place](number))
    return [Times(tuple(each)) for each in found]

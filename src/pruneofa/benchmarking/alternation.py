"""Taking turns: every contestant once in each round, each round on other inputs, starting with another contestant."""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Times", "alternate", "percentile", "rounds"]


@dataclass(frozen=True)
class Times:
    """Seconds of a contestant's calls.

    The first call of a turn finds the processor and its caches as the others left them, so it is told apart.

    Attributes:
        turns: For each round the calls of this contestant's turn, in their order.
    """

    turns: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of the calls after the first of each turn; of the first ones where turns have no other."""
        later = tuple(seconds for turn in self.turns for seconds in turn[1:])
        return later or tuple(turn[0] for turn in self.turns)

    @property
    def first(self) -> float:
        """The middle one of the first calls."""
        return statistics.median(turn[0] for turn in self.turns)

    @property
    def median(self) -> float:
        """The middle one of `seconds`."""
        return statistics.median(self.seconds)

    def ratio(self, other: "Times") -> float:
        """How many times as long as `other` this took: the middle one of the rounds' quotients.

        Turns of a round follow each other closely, so that what slows a shared machine for seconds slows both.
        """
        pairs = zip(self.turns, other.turns, strict=True)
        return statistics.median(Times((own,)).median / Times((its,)).median for own, its in pairs)

    @property
    def p95(self) -> float:
        """95 % of `seconds` are no longer."""
        return percentile(self.seconds, 0.95)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def rounds(contestants: int, repeats: int, inputs: int, seed: int = 0) -> Iterator[tuple[int, list[int]]]:
    """For each round the input that all begin with, and the contestants in the order of their turns.

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
    turns: Sequence[Callable[[Sequence[int]], Sequence[float]]],
    *,
    repeats: int,
    inputs: int,
    seconds: float,
    calls: int = 1,
    min_repeats: int = 1,
    pause: float = 0.0,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Times]:
    """Time calls by turns.

    Args:
        turns: Each takes the numbers of inputs and returns the seconds that each of them took.
        repeats: Rounds at most.
        inputs: Number of inputs.
        seconds: No further round begins after this time.
        calls: Inputs of a turn: one after the other, from the round's first on.
        min_repeats: But so many rounds are done in any case.
        pause: Before each turn.
        seed: Of the inputs' order.
        clock: What tells the time.

    Returns:
        For each of `turns` its times; all have the same number.
    """
    found: list[list[tuple[float, ...]]] = [[] for _ in turns]
    started = clock()
    for done, (number, order) in enumerate(rounds(len(turns), repeats, inputs, seed)):
        if done >= min_repeats and clock() - started > seconds:
            break
        for place in order:
            time.sleep(pause)
            found[place].append(tuple(turns[place]([(number + step) % inputs for step in range(calls)])))
    return [Times(tuple(each)) for each in found]

"""Turns: who is timed when, on which input, how long; and what is made of the times."""

from hypothesis import given
from hypothesis import strategies as st

from pruneofa.benchmarking.alternation import Times, alternate, percentile, rounds


def record(contestants, **settings):
    """Who was called with which input, in order, and the times."""
    told = []

    def call(place):
        def run(numbers):
            told.extend((place, number) for number in numbers)
            return [float(place + 1 + step) for step in range(len(numbers))]

        return run

    times = alternate([call(place) for place in range(contestants)], **settings)
    return told, times


def test_contestants_alternate_on_the_same_input():
    told, times = record(2, repeats=4, inputs=3, seconds=60.0)
    assert [place for place, _ in told] == [0, 1, 1, 0, 0, 1, 1, 0]
    for first, second in zip(told[::2], told[1::2], strict=True):
        assert first[1] == second[1]
    assert times == [Times(((1.0,),) * 4), Times(((2.0,),) * 4)]


def test_a_turn_is_some_calls_on_inputs_that_follow():
    told, times = record(2, repeats=2, inputs=3, calls=4, seconds=60.0)
    assert [place for place, _ in told] == [0] * 4 + [1] * 4 + [1] * 4 + [0] * 4
    for start in range(0, 16, 4):
        numbers = [number for _, number in told[start : start + 4]]
        assert numbers == [(numbers[0] + step) % 3 for step in range(4)]
    assert [number for _, number in told[:4]] == [number for _, number in told[4:8]]
    assert times[1].turns == ((2.0, 3.0, 4.0, 5.0),) * 2
    assert (times[1].first, times[1].median, times[1].seconds) == (2.0, 4.0, (3.0, 4.0, 5.0) * 2)


def test_a_ratio_is_taken_within_rounds():
    # The machine is half as quick in two of three rounds; a slow first call counts in none.
    own = Times(((9.0, 1.0, 1.0), (9.0, 2.0, 2.0), (9.0, 2.0, 2.0)))
    peer = Times(((1.0, 4.0, 4.0), (1.0, 8.0, 8.0), (1.0, 6.0, 6.0)))
    assert peer.ratio(own) == 4.0
    assert peer.median / own.median == 3.0
    assert own.ratio(own) == 1.0
    assert Times(((3.0,), (5.0,), (4.0,))).ratio(Times(((1.0,), (1.0,), (1.0,)))) == 4.0


@given(st.integers(1, 5), st.integers(1, 20), st.integers(1, 6), st.integers(0, 3))
def test_every_round_has_everybody_once_and_every_input_comes_equally_often(contestants, repeats, inputs, seed):
    found = list(rounds(contestants, repeats, inputs, seed))
    assert len(found) == repeats
    for number, (_, order) in enumerate(found):
        assert sorted(order) == list(range(contestants))
        assert order[0] == number % contestants
    used = [number for number, _ in found]
    for start in range(0, repeats - inputs + 1, inputs):
        assert sorted(used[start : start + inputs]) == list(range(inputs))


def test_inputs_come_in_another_order_each_time():
    used = [number for number, _ in rounds(1, 64, 8)]
    assert len({tuple(used[start : start + 8]) for start in range(0, 64, 8)}) > 1
    assert used == [number for number, _ in rounds(1, 64, 8)]


def test_a_shape_ends_after_its_time_but_not_before_the_least_number_of_rounds():
    ticks = iter(range(0, 1000, 10))
    told, times = record(2, repeats=50, inputs=1, seconds=25.0, min_repeats=2, clock=lambda: float(next(ticks)))
    # The clock stands at 0 at the start, then moves on by 10 at each look, of which the first two rounds need none.
    assert len(times[0].seconds) == 4
    assert len(told) == 8


def test_figures_of_times():
    times = Times(((0.5, *(float(value) for value in range(100, 0, -1))),))
    assert times.median == 50.5
    assert times.p95 == 95.0
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([1.0, 2.0], 0.95) == 2.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_exceed(values, share):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    lower = [value for value in values if value < found]
    assert not lower or sum(value <= max(lower) for value in values) < share * len(values)

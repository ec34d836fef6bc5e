"""The demo's estimate: from measured products, for the demo alone."""

import pytest

from pruneofa.planning import demo_time as module
from pruneofa.planning.demo_time import demo_time, products_per_second


@pytest.mark.parametrize(("bfloat16", "rate", "minutes"), [(True, 117e9, 18), (False, 40e9, 45)])
def test_the_machines_it_was_run_on_come_out_as_they_were(monkeypatch, bfloat16, rate, minutes):
    monkeypatch.setattr(module, "bfloat16_pays", lambda: bfloat16)
    found = demo_time("demo", lambda asked: rate if asked is bfloat16 else 0.0)
    assert found is not None
    assert round(found.minutes) == minutes
    assert found.precision == ("bfloat16" if bfloat16 else "float32")


def test_other_recipes_have_none():
    assert demo_time("my-own", lambda _: 1e9) is None


def test_products_are_counted():
    assert products_per_second(False, seconds=0.01) > 1e6

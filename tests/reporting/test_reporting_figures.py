import dataclasses
import re
import warnings
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.reporting import _svg, figures, heatmap
from pruneofa.reporting.data import Curve, ReportData, TensorSparsity
from pruneofa.reporting.figures import Picture

HOSTILE = '</svg><script>alert(1)</script> $\\frac{ "\x00\ud800\u202e\uffff\n' + "漢字" + "x" * 300


def _texts(picture: Picture) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ElementTree.fromstring(picture.svg).iter("text")]


def _tensor(name: str, sparsity: float = 0.85) -> TensorSparsity:
    return TensorSparsity(name, (10, 10), round(100 * (1 - sparsity)), 100, sparsity)


def _all(report: ReportData) -> list[Picture]:
    made = [
        figures.size_picture(report.rows, "size"),
        figures.metric_picture(report.rows, "eval_accuracy", "metric"),
        *(figures.curve_picture(curve, f"curve{i}") for i, curve in enumerate(report.curves)),
        *heatmap.sparsity_pictures(report.tensors, "tensors"),
    ]
    return [picture for picture in made if picture is not None]


def test_pictures_are_deterministic_and_stand_in_one_page(report: ReportData) -> None:
    pictures = _all(report)
    assert len(pictures) == 2 + 5 + 2
    assert pictures == _all(report)
    identifiers = [name for picture in pictures for name in re.findall(r'\bid="([^"]*)"', picture.svg)]
    assert len(identifiers) == len(set(identifiers))
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        own = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
        assert set(re.findall(r'(?:href="|url\()#([^")]*)', picture.svg)) <= own
        assert "http" not in picture.svg
        assert not [element for element in root.iter() if element.tag in ("style", "script", "metadata", "image")]
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"] == picture.description
        # Every colour can be changed by the page.
        assert not re.search(r"(?<!, )#[0-9a-f]{6}\b", re.sub(r'aria-label="[^"]*"', "", picture.svg))


def test_each_colour_has_one_variable() -> None:
    colours = [_svg.INK, _svg.MUTED, _svg.GRID, _svg.TRACK, *_svg.SERIES, *_svg.HEAT]
    colours += [_svg.HEAT_INK_LOW, _svg.HEAT_INK_HIGH]
    assert len(set(colours)) == len(colours) == len(_svg.COLOUR_VARIABLES)


def test_the_panels_follow_what_was_logged(report: ReportData) -> None:
    teach, prune, finetune = (figures.curve_picture(curve, "c") for curve in report.curves[:3])
    assert teach is not None and prune is not None and finetune is not None
    assert {"loss", "learning rate", "training", "evaluation", "step"} <= set(_texts(teach))
    assert "sparsity" not in _texts(teach)
    assert {"sparsity", "actual", "target", "task", "distillation", "75 %"} <= set(_texts(prune))
    assert "accuracy" in _texts(finetune)
    assert "learning_rate from" in finetune.description
    assert not any("runtime" in text or "grad" in text for text in _texts(prune))


@pytest.mark.parametrize(
    "curve", [Curve("s", [], {}), Curve("s", [3], {"epoch": [1.0]}), Curve("s", [3], {"loss": [None]})]
)
def test_nothing_logged_is_no_picture(curve: Curve) -> None:
    assert figures.curve_picture(curve, "c") is None


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-300, 1e300])
def test_one_point_and_extreme_values_are_drawn(value: float) -> None:
    picture = figures.curve_picture(Curve("s", [0], {"loss": [value], "learning_rate": [value]}), "c")
    assert picture is not None
    assert "loss" in _texts(picture)


def test_hostile_names_are_text_everywhere(report: ReportData) -> None:
    row = dataclasses.replace(report.rows[0], name=HOSTILE, metrics={HOSTILE: 0.5})
    curve = Curve(HOSTILE, [1, 2], {f"loss/{HOSTILE}": [1.0, 2.0], f"eval_{HOSTILE}": [0.1, 0.2], "loss": [1.0, 1.0]})
    tensors = [_tensor(f"{HOSTILE}.{i}.{role}{HOSTILE}.weight") for i in range(2) for role in "ab"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [
            figures.size_picture([row], "s"),
            figures.metric_picture([row], HOSTILE, "m"),
            figures.curve_picture(curve, "c"),
            *heatmap.sparsity_pictures([*tensors, _tensor(HOSTILE)], "t"),
        ]
    for picture in pictures:
        assert picture is not None
        assert "<script" not in picture.svg
        assert picture.svg.count("</svg>") == 1
        picture.svg.encode()


def test_thin_keeps_ends_and_peaks() -> None:
    values = [0.0] * 5000
    values[1234], values[4000] = 9.0, -9.0
    steps, kept = figures.thin(range(5000), values, limit=100)
    assert len(steps) <= 100
    assert (steps[0], steps[-1]) == (0, 4999)
    assert dict(zip(steps, kept, strict=True))[1234] == 9.0
    assert dict(zip(steps, kept, strict=True))[4000] == -9.0


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), max_size=300), st.integers(4, 60))
def test_thin_is_an_ordered_selection_with_the_same_extremes(values: list[float], limit: int) -> None:
    steps, kept = figures.thin(range(len(values)), values, limit)
    assert len(steps) <= max(limit, min(len(values), limit))
    assert steps == sorted(set(steps))
    assert kept == [values[step] for step in steps]
    assert not values or (min(kept), max(kept)) == (min(values), max(values))


def test_heat_map_writes_each_value_in_its_cell(report: ReportData) -> None:
    layers, rest = heatmap.sparsity_pictures(report.tensors, "t")
    texts = _texts(layers)
    for tensor in report.tensors[:36]:
        assert f"{100 * tensor.sparsity:.2f}" in texts
    assert [text for text in texts if text in ("query", "key", "value", "intermediate")] == [
        "query", "key", "value", "intermediate",
    ]  # fmt: skip
    assert layers.title == "bert.encoder.layer"
    assert rest.title == "Other tensors"
    assert _texts(rest) == ["bert.pooler.dense.weight", "0.00 %"]


def test_role_labels_are_short_and_distinct() -> None:
    assert heatmap.role_labels(
        ["attention.self.query.weight", "attention.output.dense.weight", "output.dense.weight"]
    ) == {
        "attention.self.query.weight": "query",
        "attention.output.dense.weight": "attention output",
        "output.dense.weight": "output",
    }
    assert heatmap.role_labels(["attn.Wo.weight", "attn.Wo.dense"]) == {
        "attn.Wo.weight": "attn.Wo.weight",
        "attn.Wo.dense": "attn.Wo.dense",
    }
    assert heatmap.role_labels(["weight"]) == {"weight": "weight"}


def test_names_without_layers_become_bars_and_nothing_is_lost() -> None:
    pictures = heatmap.sparsity_pictures([_tensor(f"linear_{i}") for i in range(130)], "t")
    assert [picture.title for picture in pictures] == ["Tensors (the first 120 of 130; all are in the table)"]
    assert len(_texts(pictures[0])) == 240
    assert heatmap.sparsity_pictures([], "t") == []


def test_two_stacks_are_two_maps_and_ragged_names_become_bars() -> None:
    stacks = [_tensor(f"{part}.layers.{i}.fc{j}.weight") for part in ("a", "b") for i in range(2) for j in (1, 2)]
    ragged = [_tensor(f"m.{i}.role{i}") for i in range(12)]
    twice = [_tensor("twice.0.fc.weight")] * 2
    titles = [picture.title for picture in heatmap.sparsity_pictures([*stacks, *ragged, *twice], "t")]
    assert titles == ["a.layers", "b.layers", "Other tensors"]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_colour_scale_covers_the_values_and_is_never_empty(values: list[float]) -> None:
    low, high = heatmap._scale(values)
    assert 0 <= low <= min(values) + 1e-8
    assert max(values) - 1e-8 <= high <= 1
    assert high - low >= 0.05 - 1e-9


def test_metric_picture_needs_the_metric(report: ReportData) -> None:
    assert figures.metric_picture(report.rows, "absent", "m") is None
    assert figures.size_picture([], "s") is None
    picture = figures.metric_picture(report.rows, "eval_accuracy", "m")
    assert picture is not None
    assert picture.title == "Accuracy"
    assert {"83.0 %", "81.2 %", "79.9 %", "sparse int8"} <= set(_texts(picture))

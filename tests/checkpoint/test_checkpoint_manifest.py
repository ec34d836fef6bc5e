"""pruneofa.json: what is written is read again, and each malformed field is named."""

import json

import pytest

from pruneofa.checkpoint.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from pruneofa.errors import CheckpointError

GOOD = Manifest(
    stage="transfer",
    encoder_weights=("a.weight", "b.weight"),
    pooler_weights=("p.weight",),
    sparsity={
        "a.weight": {"size": 10, "zeros": 8, "target": 0.85},
        "b.weight": {"size": 4, "zeros": 0, "target": None},
    },
    quantization={
        "weight_granularity": "per_tensor",
        "bits": 8,
        "activation": {"bits": 8, "seen": [1, 2.5]},
        "qat": True,
    },
    extra={"recipe": "demo", "größe": (1, 2)},
)


def test_round_trip(tmp_path):
    path = write_manifest(tmp_path, GOOD)
    assert path == tmp_path / MANIFEST_NAME
    assert read_manifest(tmp_path) == GOOD
    assert list(json.loads(path.read_text(encoding="utf-8"))) == [
        *("format_version", "stage", "encoder_weights", "pooler_weights", "sparsity", "quantization", "extra")
    ]


def test_absent_is_none(tmp_path):
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format_version": 2}, "format_version is 2, this pruneofa reads 1"),
        ({"format_version": True}, "'format_version' is True"),
        ({"stage": ""}, "'stage' is ''"),
        ({"encoder_weights": "a.weight"}, "encoder_weights is 'a.weight'"),
        ({"encoder_weights": ["a", "a"]}, "each name only once"),
        ({"encoder_weights": [1]}, "'encoder_weights' is 1"),
        ({"pooler_weights": ["a.weight"]}, "'pooler_weights' is 'a.weight'"),
        ({"sparsity": []}, "'sparsity'"),
        ({"sparsity": {"a": {"size": 1, "zeros": 0}}}, "exactly size, zeros, target"),
        ({"sparsity": {"a": {"size": 1, "zeros": 2, "target": None}}}, "from 0 to size (1)"),
        ({"sparsity": {"a": {"size": -1, "zeros": 0, "target": None}}}, "a whole number from 0"),
        ({"sparsity": {"a": {"size": 1, "zeros": 0, "target": 1.5}}}, "a number from 0 to 1"),
        ({"sparsity": {"a": {"size": 1, "zeros": 0, "target": True}}}, "a number from 0 to 1"),
        ({"quantization": {"bits": 8, "activation": None}}, "weight_granularity"),
        ({"quantization": {"weight_granularity": "x", "bits": 8, "activation": None}}, "per_channel or per_tensor"),
        ({"quantization": {"weight_granularity": "per_tensor", "bits": 4, "activation": None}}, "allowed is 8"),
        ({"quantization": {"weight_granularity": "per_tensor", "bits": 8, "activation": 3}}, "quantization.activation"),
        ({"extra": []}, "'extra'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_each_fault_names_file_and_field(tmp_path, change, text):
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(GOOD.as_dict() | change))
    with pytest.raises(CheckpointError) as caught:
        read_manifest(tmp_path)
    assert text in str(caught.value)
    assert str(tmp_path / MANIFEST_NAME) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "a JSON object is needed"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"stage": "a", "stage": "b"}', "'stage' appears twice"),
        (b'{"extra": NaN}', "NaN is not allowed"),
        (b'{"extra": 1e999}', "out of range"),
        (b'{"extra": "\\ud800"}', "lone surrogate"),
        (b'{"extra": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b"1" * 10_000, "not valid JSON"),
        (b" " * (16 * 2**20 + 1), "at most 16777216 are allowed"),
        (b'{"format_version": 1}', "missing field"),
    ],
)
def test_hostile_json_is_refused(tmp_path, content, text):
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match=text):
        read_manifest(tmp_path)


def test_values_that_are_no_json_are_refused_when_made():
    with pytest.raises(CheckpointError, match="'extra': not a JSON value"):
        Manifest(stage="a", encoder_weights=(), extra={"x": object()})
    with pytest.raises(CheckpointError, match="'extra': not a JSON value"):
        Manifest(stage="a", encoder_weights=(), extra={"x": float("nan")})


def test_unreadable_manifest_is_one_error(tmp_path):
    (tmp_path / MANIFEST_NAME).mkdir()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_manifest(tmp_path)

"""The compiled module by itself: whatever it is given, it answers or raises."""

import subprocess
import sys

import numpy as np
import pytest

from pruneofa.native import native_module

native = native_module()


def linear(rows=8, columns=8):
    levels = np.ones((rows, columns), dtype=np.int8)
    return native.Linear.int8(levels, np.ones(1, np.float32), None, (0.1, 3), None)


def norm(size=8):
    return native.Norm.float32(np.ones(size, np.float32), np.zeros(size, np.float32))


def table(rows=20, columns=8):
    return native.Table.float32(np.zeros((rows, columns), np.float32))


def layer():
    return native.Layer.of(linear(), linear(), linear(), linear(), norm(), linear(16, 8), linear(8, 16), norm())


def parts(**changes):
    values = {
        "heads": 2,
        "intermediate": 16,
        "max_tokens": 20,
        "epsilon": 1e-12,
        "activation": "gelu",
        "attention_products": False,
        "words": table(),
        "positions": table(),
        "types": None,
        "embedding_norm": norm(),
        "embedding_projection": None,
        "layers": [layer()],
        "relative_bias": None,
        "head_kind": "none",
        "head": [],
        "kernel": "",
        "threads": 1,
    }
    return native.Model.of(**{**values, **changes})


def run(model, ids=(1, 2, 3), offsets=(0, 3), positions=(0, 1, 2), order=(0, 1, 2), types=None, **wanted):
    arrays = [
        np.array(ids, np.int32),
        np.array(offsets, np.int64),
        np.array(positions, np.int32),
        np.array(order, np.int32),
    ]
    return model.run(*arrays, types, **{"hidden": True, "logits": False, **wanted})


def test_a_small_model_runs():
    hidden, logits = run(parts())
    assert hidden.shape == (3, 8)
    assert np.isfinite(hidden).all()
    assert logits is None


def test_embeddings_of_another_size_need_a_projection_of_theirs():
    small = {"words": table(columns=4), "positions": table(columns=4), "embedding_norm": norm(4)}
    assert run(parts(**small, embedding_projection=linear(8, 4)))[0].shape == (3, 8)
    again = {"words": table(columns=4), "positions": table(columns=4), "embedding_norm": norm(4)}
    with pytest.raises(ValueError, match=r"embedding_projection has the shape \[8, 8\], the model needs \[8, 4\]"):
        parts(**again, embedding_projection=linear(8, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": (1, 2)}, "ids has 2 numbers, offsets announce 3"),
        ({"ids": (1, 2, 99)}, "input_ids holds 99"),
        ({"offsets": (1, 3)}, "offsets must start with 0"),
        ({"offsets": ()}, "offsets must start with 0"),
        ({"offsets": (0, 5, 3)}, "offsets must not fall"),
        ({"offsets": (0, 0, 3)}, "sequence 0 has 0 tokens"),
        ({"offsets": (0, 2**62)}, "offsets announce 4611686018427387904"),
        ({"positions": (0, 1, -1)}, "positions holds -1"),
        ({"order": (0, 1, 20)}, "order holds 20"),
        ({"types": np.array([0, 1, 0], np.int32)}, "token_type_ids holds 1, allowed is 0 to 0"),
        ({"logits": True}, "this model has no head"),
    ],
)
def test_numbers_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        run(parts(), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "no multiple of 3 heads"),
        ({"heads": 0}, "no multiple of 0 heads"),
        ({"intermediate": 17}, r"ffn_in has the shape \[16, 8\], the model needs \[17, 8\]"),
        ({"max_tokens": 2**31}, "max_tokens is 2147483648"),
        ({"activation": "swish"}, "activation 'swish' is unknown"),
        ({"head_kind": "middle"}, "head 'middle' is unknown"),
        ({"kernel": "none"}, "kernel 'none' is unknown"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 10**6}, "threads is 1000000"),
        ({"attention_products": True}, "attention_products needs output grids"),
        ({"epsilon": float("nan")}, "epsilon"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        parts(**changes)


def test_a_part_serves_one_model():
    shared = layer()
    parts(layers=[shared])
    with pytest.raises(ValueError, match="this layer is part of a model already"):
        parts(layers=[shared])


@pytest.mark.parametrize(
    "call",
    [
        lambda: native.Linear.int8(np.ones((2, 2), np.int16), np.ones(1, np.float32), None, (0.1, 3), None),
        lambda: native.Linear.int8(np.ones((2, 2), np.int8)[:, ::2], np.ones(1, np.float32), None, (0.1, 3), None),
        lambda: native.Linear.int8(np.ones(4, np.int8), np.ones(1, np.float32), None, (0.1, 3), None),
        lambda: native.Table.float32(None),
        lambda: native.Norm.float32(np.ones(3), np.ones(3)),
        lambda: parts(layers=[None]),
        lambda: parts(words=None),
        lambda: parts(threads=-1),
    ],
)
def test_arguments_of_a_wrong_type(call):
    with pytest.raises((TypeError, ValueError)):
        call()


def test_importing_the_engine_needs_no_torch():
    program = (
        "import sys\n"
        "import pruneofa.engine.engine\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'datasets', 'typer', 'rich', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr

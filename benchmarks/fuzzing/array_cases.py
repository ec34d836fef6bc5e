"""Arrays of any shape, type and value: an answer, the same as sequence by sequence, or an error."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.case_values import SPECIAL, same_bits
from fuzzing.engine_models import token_ids
from pruneofa.engine.engine import Engine
from pruneofa.errors import DataError

__all__ = ["run_arrays"]

TYPES = ("int8", "uint8", "int16", "int32", "int64", "uint64", "float32", "float64", "bool", "object", "U1")


def run_arrays(rng: random.Random, engine: Engine) -> tuple[str, str]:
    """One case: what kind of arrays, and "refused" or "computed"."""
    way = rng.random()
    if way < 0.4:
        return "valid", _one_by_one(rng, engine)
    if way < 0.7:
        return "raw", _raw(rng, engine)
    return "any", _any(rng, engine)


def _one_by_one(rng: random.Random, engine: Engine) -> str:
    batch, length = rng.randrange(1, 6), rng.randrange(1, engine.max_tokens + 1)
    ids = token_ids(rng.randrange(2**31), batch, length)
    mask = np.random.default_rng(rng.randrange(2**31)).integers(0, 2, ids.shape)
    mask[:, 0] = 1
    found = engine.run(ids, mask, hidden_states=True)
    for row in range(batch):
        single = engine.run(ids[row : row + 1], mask[row : row + 1], hidden_states=True)
        for all_rows, one_row in ((found.hidden_states, single.hidden_states), (found.logits, single.logits)):
            if all_rows is not None and one_row is not None:
                same_bits([all_rows[row]], [one_row[0]], "a batch differs from its sequences")
    return "computed"


def _any(rng: random.Random, engine: Engine) -> str:
    arrays = [_array(rng, engine) for _ in range(3)]
    if rng.random() < 0.5:  # shapes that agree
        arrays[1:] = [np.resize(a, np.shape(arrays[0])) if np.size(a) else a for a in arrays[1:]]
    chosen = [array if rng.random() < 0.8 else None for array in arrays[1:]]
    try:
        found = engine.run(arrays[0], *chosen, hidden_states=True)
    except DataError:
        return "refused"
    assert found.hidden_states is not None
    assert found.hidden_states.shape == (*np.shape(arrays[0]), engine.hidden_size)
    return "computed"


def _array(rng: random.Random, engine: Engine) -> Any:
    shape = rng.choice(((), (0,), (3,), (1, 1), (2, 7), (2, 7), (5, 0), (0, 5), (1, 2, 3), (3, engine.max_tokens + 1)))
    kind = rng.choice(TYPES)
    values = np.array([rng.choice((4, 5, 6, 7, 8, *SPECIAL)) for _ in range(int(np.prod(shape)))], dtype=object)
    if kind in ("object", "U1"):
        return values.reshape(shape).astype(kind)
    with np.errstate(all="ignore"):
        array = np.array([float(value) for value in values]).astype(kind).reshape(shape)
    if rng.random() < 0.5:
        array = (np.abs(array.astype(np.float64)) % rng.choice((2, 30))).astype(kind)
    return rng.choice((array, array.T, array[..., ::-1] if array.ndim else array, array.tolist()))


def _raw(rng: random.Random, engine: Engine) -> str:
    """The compiled model's own entrance, behind the checks in Python."""
    lengths = [rng.choice((0, 1, 2, 7, 16, 33, 40, 41)) for _ in range(rng.choice((0, 1, 1, 2, 5)))]
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    total = int(offsets[-1])
    places = np.concatenate([np.zeros(0), *(np.arange(length) for length in lengths)]).astype(np.int32)
    ids = np.array([rng.randrange(4, 30) for _ in range(total)], np.int32)
    arrays = [ids, offsets, places, places, rng.choice((None, np.zeros(total, np.int32)))]
    for _ in range(rng.choice((0, 1, 1, 2))):
        index = rng.randrange(5)
        arrays[index] = _changed(rng, arrays[index])
    try:
        engine._native.run(*arrays, hidden=rng.random() < 0.7, logits=rng.random() < 0.7)
    except (ValueError, TypeError):
        return "refused"
    return "computed"


def _changed(rng: random.Random, array: NDArray[Any] | None) -> NDArray[Any] | None:
    if array is None or not array.size or rng.random() < 0.3:
        return rng.choice((None, np.zeros(rng.choice((0, 1, 3)), rng.choice(("int32", "int64", "f4")))))
    changed = array.copy()
    changed.reshape(-1)[rng.randrange(array.size)] = rng.choice(SPECIAL) % 2**31 * rng.choice((1, -1))
    return rng.choice((changed, changed[:-1], np.repeat(changed, 2)[::2], changed.reshape(1, -1)))

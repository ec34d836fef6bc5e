"""Damaged matrices: the compiled decoder does what the tests' reference does, the same bits or words of refusal."""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.case_values import SPECIAL, damaged
from pruneofa.checkpoint.bitmask import BitmaskMatrix, encode_bitmask
from pruneofa.checkpoint.dtypes import DTYPES_BY_NAME, DType, bit_view
from pruneofa.checkpoint.packed.matrix import PackedMatrix, encode_packed
from pruneofa.errors import CheckpointError
from pruneofa.native import native_module

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "checkpoint"))
import reference_decoders.bitmask as bitmask_reference
import reference_decoders.matrix as packed_reference

__all__ = ["DecoderCases"]

LARGEST = 2**18  # elements of a matrix whose shape was changed
SHAPES = ((1, 1), (1, 37), (37, 1), (7, 9), (16, 33), (40, 50), (64, 96))
NARROW = ("int8", "uint8", "float16", "bfloat16", "float32", "int32", "float8_e4m3")


@dataclass(frozen=True)
class _Matrix:
    values: NDArray[Any]
    dtype: DType
    packed: PackedMatrix
    bitmask: BitmaskMatrix


class DecoderCases:
    """Some matrices of all types and densities, and what is done to them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._native = native_module()
        self._matrices = [_matrix(rng) for _ in range(80)]

    def run(self, rng: random.Random) -> tuple[str, str]:
        """One case: which form, and "refused" or "computed"."""
        matrix = rng.choice(self._matrices)
        rows, columns = matrix.values.shape
        if rng.random() < 0.2:
            rows, columns = rng.choice(((columns, rows), (rows + 1, columns), (1, rows * columns), (rows, columns + 9)))
        if rng.random() < 0.1:
            rows = min(rng.choice((1, 2, 500, 5000, 60_000)), LARGEST // columns)
        if rng.random() < 0.6:
            return "packed", self._packed(rng, matrix, (rows, columns))
        return "bitmask", self._bitmask(rng, matrix, (rows, columns))

    def _packed(self, rng: random.Random, matrix: _Matrix, shape: tuple[int, int]) -> str:
        whole, dtype = matrix.packed, matrix.dtype
        if rng.random() < 0.1:
            other = DTYPES_BY_NAME[rng.choice(NARROW)]
            dtype = other if (other.itemsize == 1) == (dtype.itemsize == 1) else dtype
        planes = whole.planes
        if planes is not None and rng.random() < 0.2:
            k, n = (max(size + rng.choice((-1, 0, 1)), 0) for size in planes.shape)
            planes = np.resize(planes if planes.size else np.zeros(1, np.uint8), (k, n))
        scales = whole.scales
        if scales is not None:
            scales = np.resize(damaged(rng, scales, 0.3, resize=False), shape[0])
            dtype = matrix.dtype
        encoded = PackedMatrix(damaged(rng, whole.tables, 0.6), damaged(rng, whole.stream, 0.4), planes, scales)
        turn = "shift128" if dtype.name == "int8" else "sign_last" if dtype.is_float else "none"
        dense = np.zeros(shape, dtype.storage)

        def compiled() -> list[bytes]:
            self._native.decode_packed(encoded.tables, encoded.stream, encoded.planes, scales, turn, bit_view(dense))
            return [dense.tobytes()]

        return _compare(compiled, lambda: [packed_reference.decode_packed(encoded, shape, dtype, "x").tobytes()])

    def _bitmask(self, rng: random.Random, matrix: _Matrix, shape: tuple[int, int]) -> str:
        whole = matrix.bitmask
        rows, columns = shape
        mask = _resized(whole.bitmask, rows * -(-columns // 8)).reshape(rows, -1)
        if rng.random() < 0.5:
            mask = damaged(rng, mask.reshape(-1), 1.0, resize=False).reshape(mask.shape)
        offsets = _resized(whole.row_offsets, rows)
        if rng.random() < 0.3:
            offsets[rng.randrange(rows)] = rng.choice(SPECIAL)
        elif rng.random() < 0.7:  # what the mask asks for, so that the deeper checks are reached
            counts = np.unpackbits(mask, axis=1).sum(axis=1, dtype=np.int64)
            offsets = np.cumsum(counts) - counts
        elements = damaged(rng, whole.compressed, 0.4)
        encoded = BitmaskMatrix(shape, elements, mask, offsets)
        dense, found = np.zeros(shape, elements.dtype), np.zeros(rows, np.int64)

        def compiled() -> list[bytes]:
            self._native.decode_bitmask(bit_view(elements), mask, offsets, bit_view(dense), found)
            return [dense.tobytes(), found.tobytes()]

        return _compare(compiled, lambda: [array.tobytes() for array in bitmask_reference.decode_bitmask(encoded, "x")])


def _compare(compiled: Callable[[], list[bytes]], specified: Callable[[], list[bytes]]) -> str:
    wanted, words = None, ""
    try:
        wanted = specified()
    except CheckpointError as error:
        words = str(error)
    try:
        found = compiled()
    except ValueError as error:
        assert wanted is None, f"the compiled decoder alone refuses: {error}"
        assert f"x: {error}" == words, f"the compiled decoder says: {error}; the reference: {words}"
        return "refused"
    assert wanted is not None, f"the reference alone refuses: {words}"
    assert found == wanted, "the decoders disagree"
    return "computed"


def _matrix(rng: np.random.Generator) -> _Matrix:
    dtype = DTYPES_BY_NAME[rng.choice(NARROW)]
    shape = SHAPES[rng.integers(len(SHAPES))]
    spread = rng.choice([0.0, 1.0, 4.0])
    density = np.exp(spread * rng.normal(size=(shape[0], 1))) * np.exp(spread * rng.normal(size=(1, shape[1])))
    kept = rng.random(shape) < density * rng.choice([0.0, 0.02, 0.1, 0.5, 9.0])
    top = rng.choice([4, 2 ** (8 * dtype.itemsize)])
    bits = np.where(kept, rng.integers(1, top, size=shape), 0).astype(f"<u{dtype.itemsize}")
    values, scales = bits.view(dtype.storage), None
    if dtype.name == "int8" and rng.random() < 0.7:
        scales = (0.02 * np.exp(rng.choice([0.1, 1.0, 9.0]) * rng.normal(size=shape[0]))).astype(np.float32)
        levels = np.clip(np.rint(0.2 * rng.normal(size=shape) / scales[:, None]), -127, 127)
        values = np.where(kept, levels, 0).astype(np.int8)
    return _Matrix(values, dtype, encode_packed(values, dtype, scales), encode_bitmask(values))


def _resized(array: NDArray[Any], size: int) -> NDArray[Any]:
    return np.resize(array, size) if array.size else np.zeros(size, array.dtype)

"""Models put together from parts of hostile sizes and values, and run where that makes a model."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.case_values import FLOATS, SPECIAL
from pruneofa.engine.native import kernel_names
from pruneofa.native import native_module

__all__ = ["run_parts"]

HOSTILE_SETTINGS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("heads", (2, 4, 0, 2**31, -1)),
    ("intermediate", (0, 2**31, 17)),
    ("max_tokens", (0, 1, 2**31, 2**40)),
    ("epsilon", FLOATS),
    ("activation", ("tanh", "none", "x" * 1000)),
    ("attention_products", (True, False)),
    ("head_kind", ("", "middle")),
    ("kernel", ("", "none")),
    ("threads", (0, 10**6, 2**70)),
)


def run_parts(rng: random.Random) -> tuple[str, str]:
    """One case: "model", and "refused" or "computed"."""
    parts = _Parts(rng)
    try:
        model, has_head = parts.model()
        count = rng.choice((1, 2, 19, 20))
        ids = np.arange(count, dtype=np.int32)
        model.run(ids, np.array([0, count], np.int64), ids, ids, None, hidden=True, logits=has_head)
    except (ValueError, TypeError):
        return "model", "refused"
    return "model", "computed"


class _Parts:
    """Parts of one model, most of them as they should be."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._native = rng, native_module()
        self._hidden, self._inner = rng.choice((1, 3, 8, 8, 64, 130)), rng.choice((1, 5, 16, 1100))
        self._alike = rng.random() < 0.7  # grids that agree, as integer products in attention need them
        self._form = rng.choice(("int8", "int8", "float32", "mixed"))

    def model(self) -> tuple[Any, bool]:
        rng, native, hidden, inner = self._rng, self._native, self._hidden, self._inner
        layers = [
            native.Layer.of(
                *(self._linear(hidden, hidden) for _ in range(4)),
                self._norm(),
                self._linear(inner, hidden),
                self._linear(hidden, inner),
                self._norm(),
            )
            for _ in range(rng.choice((0, 1, 1, 2)))
        ]
        settings: dict[str, Any] = {
            "heads": 1,
            "intermediate": inner,
            "max_tokens": 20,
            "epsilon": 1e-12,
            "activation": rng.choice(("gelu", "gelu_tanh", "relu")),
            "attention_products": self._alike and self._form == "int8",
            "relative_bias": rng.choice((None, None, self._floats(self._size(39)))),
            "head_kind": rng.choice(("none", "first_token", "every_token")),
            "kernel": rng.choice(kernel_names()),
            "threads": rng.choice((1, 2, 3)),
        }
        if rng.random() < 0.4:
            name, hostile = rng.choice(HOSTILE_SETTINGS)
            settings[name] = rng.choice(hostile)
        has_head = settings["head_kind"] != "none"
        head = [(self._linear(hidden, hidden), "tanh"), (self._linear(3, hidden), "none")] if has_head else []
        embedding = hidden if rng.random() < 0.7 else rng.choice((1, 8, 65, 130))
        tables = [native.Table.float32(self._floats(self._size(rows), self._size(embedding))) for rows in (30, 20)]
        model = native.Model.of(
            words=tables[0],
            positions=tables[1],
            types=None,
            embedding_norm=self._norm(embedding),
            embedding_projection=None if embedding == hidden else self._linear(hidden, embedding),
            layers=layers,
            head=head,
            **settings,
        )
        return model, has_head

    def _size(self, right: int) -> int:
        return right if self._rng.random() < 0.995 else self._rng.choice((0, 1, 7, right + 1, 2000))

    def _floats(self, *shape: int) -> NDArray[np.float32]:
        array = np.random.default_rng(self._rng.randrange(2**32)).normal(0, 0.5, shape).astype(np.float32)
        if array.size and self._rng.random() < 0.005:
            array.reshape(-1)[self._rng.randrange(array.size)] = self._rng.choice(FLOATS)
        return array

    def _grid(self) -> tuple[float, int]:
        if self._rng.random() < 0.005:
            return self._rng.choice(FLOATS), self._rng.choice(SPECIAL)
        if self._alike:
            return 0.03, 128
        return self._rng.choice((0.03, 2.0**-60, 1e10)), self._rng.choice((0, 128, 255))

    def _linear(self, rows: int, columns: int) -> Any:
        rng = self._rng
        rows, columns = self._size(rows), self._size(columns)
        bias = rng.choice((None, self._floats(self._size(rows))))
        weight = self._floats(rows, columns) * np.float32(rng.random() < 0.9)
        if self._form == "float32" or (self._form == "mixed" and rng.random() < 0.5):
            return self._native.Linear.float32(weight, bias, self._form == "mixed" and rng.random() < 0.1)
        with np.errstate(all="ignore"):
            levels = np.clip(np.nan_to_num(weight) * 100, -128, 127).astype(np.int8)
        scales = np.abs(self._floats(rng.choice((1, rows)))) + np.float32(rng.random() < 0.998)
        output = self._grid() if self._alike else rng.choice((None, self._grid()))
        return self._native.Linear.int8(levels, scales, bias, self._grid(), output)

    def _norm(self, features: int | None = None) -> Any:
        size = features or self._hidden
        return self._native.Norm.float32(*(self._floats(self._size(size)) for _ in range(2)))

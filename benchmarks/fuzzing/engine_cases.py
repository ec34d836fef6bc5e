"""Cases for the engine: damaged model files, damaged matrices for the decoders, hostile arrays, hostile parts."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.array_cases import run_arrays
from fuzzing.case_values import FLOATS, SPECIAL, same_bits
from fuzzing.decoder_cases import DecoderCases
from fuzzing.engine_models import ENGINE_SEEDS, token_ids
from fuzzing.mutations import MUTATIONS, UNREPAIRED, forge_scales, sealed
from fuzzing.part_cases import run_parts
from fuzzing.seeds import unpack
from pruneofa.engine.engine import Engine
from pruneofa.engine.native import kernel_names
from pruneofa.errors import CheckpointError, DataError

__all__ = ["EngineCases"]

_Run = Callable[[random.Random], tuple[str, str]]


class EngineCases:
    """All kinds of cases; a number decides everything about its case.

    Args:
        seeds: Folder with the files that `make_engine_seeds` wrote.
        folder: For the damaged files; a fast file system does well.
    """

    def __init__(self, seeds: Path, folder: Path) -> None:
        self._path = folder / "case.pofa"
        self._files = {name: (seeds / f"{name}.pofa").read_bytes() for name in ENGINE_SEEDS}
        self._engines = {
            (name, kernel): Engine.load(seeds / f"{name}.pofa", threads=2, kernel=kernel)
            for name in ENGINE_SEEDS
            for kernel in kernel_names()
        }
        self._expected = {key: _answer(engine) for key, engine in self._engines.items()}
        self._mutations = [*MUTATIONS["pofa"], ("embedded", _forge_embedded), ("embedded", _forge_embedded)]
        self._families: list[tuple[str, float, _Run]] = [
            ("file", 0.35, self._file),
            ("decoder", 0.35, DecoderCases().run),
            ("arrays", 0.2, lambda rng: run_arrays(rng, rng.choice(list(self._engines.values())))),
            ("parts", 0.1, run_parts),
        ]

    def run(self, number: int) -> tuple[str, str, str]:
        """Run one case.

        Returns:
            Its family, what was done, and "refused" or "computed".

        Raises:
            Exception: A fault: another error than the announced ones, or a wrong answer.
        """
        rng = random.Random(number)
        family, _, run = rng.choices(self._families, [share for _, share, _ in self._families])[0]
        return family, *run(rng)

    def _file(self, rng: random.Random) -> tuple[str, str]:
        """A damaged or forged `.pofa` file is refused, or gives an engine that computes."""
        name, kernel = rng.choice(list(self._engines))
        kind, mutate = rng.choice(self._mutations)
        self._path.write_bytes(mutate(rng, self._files[name]))
        try:
            engine = Engine.load(self._path, threads=rng.choice((1, 2)), kernel=kernel)
            found = _answer(engine)
        except (CheckpointError, DataError):
            return kind, "refused"
        if kind in UNREPAIRED:
            same_bits(found, self._expected[name, kernel], "an engine of an unrepaired file computes something else")
        return kind, "computed"


def _answer(engine: Engine) -> list[NDArray[np.float32]]:
    ids = token_ids(7, 3, min(20, engine.max_tokens))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    found = engine.run(ids, mask, hidden_states=True)
    return [array for array in (found.hidden_states, found.logits) if array is not None]


def _forge_embedded(rng: random.Random, content: bytes) -> bytes:
    """The configuration or the scales inside a `.pofa` file changed, with hashes that fit."""
    sections, metadata = unpack(content)
    name = rng.choice([name for name in sections if name.startswith("file:")])
    code, _, data = sections[name]
    if name.endswith(".safetensors"):
        data = forge_scales(rng, data)
    elif name.endswith("config.json"):
        config: dict[str, Any] = json.loads(data)
        value = rng.choice((*SPECIAL, *FLOATS[:4], None, "", "bert", [], {}, True, [[]], "relu"))
        data = json.dumps({**config, rng.choice(list(config)): value}).encode()
    else:
        data = rng.choice((b"", b"{}", b"[" * 5000, data[: len(data) // 2]))
    sections[name] = (code, [len(data)], data)
    return sealed(rng, sections, metadata, json.loads(metadata["manifest"]), rehash=True)

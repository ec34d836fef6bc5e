"""What takes part in a comparison: runtimes, and the forms of the model that each may be quickest with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ENGINE", "Contestant", "Form"]

ENGINE = "engine"
"""Name of the runtime that the others are compared with."""


@dataclass(frozen=True)
class Form:
    """A model as one runtime takes it.

    Attributes:
        runtime: Name of a module of `pruneofa.benchmarking.runtimes`, its ending left out.
        name: For readers: "int8, Q/DQ".
        path: File or folder.
        settings: What the runtime asks for besides.
    """

    runtime: str
    name: str
    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """A row of the comparison.

    Attributes:
        name: Of the row, each once: "engine", "onnxruntime".
        forms: What it may compute on; of several the quickest is found for each shape, and timed.
        model: Which model it is; those that have the first contestant's must answer as it does.
    """

    name: str
    forms: tuple[Form, ...]
    model: str = ""

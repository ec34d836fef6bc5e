"""The models of a run: the names under which stages find them, and those that tables show."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MODEL_NAMES"]

MODEL_NAMES: Mapping[str, str] = MappingProxyType(
    {"task_teacher": "dense", "task_model": "sparse", "int8_model": "sparse int8"}
)
"""Artefact -> name for readers, in the order in which they are shown."""

"""Tiny models for the benchmark's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small int8 classifier that the engine runs."""
    from engine_models import Recipe, write_model

    return write_model(tmp_path_factory.mktemp("tiny") / "model", Recipe(attention_products=True, empty_rows=False))

"""Small models that the engine's fuzzing and soak run: every family, int8 and float, in both forms of the file."""

import sys
from pathlib import Path

from safetensors import safe_open

from pruneofa.checkpoint.writer import compress

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "engine"))
import engine_models

__all__ = ["ENGINE_SEEDS", "make_engine_seeds", "make_full_size", "make_soak_models", "token_ids"]

token_ids = engine_models.token_ids

_SMALL = {"hidden": 24, "heads": 2, "intermediate": 40, "layers": 1}
_RECIPES = {
    "bert_int8": engine_models.Recipe(attention_products=True, **_SMALL),
    "bert_float": engine_models.Recipe(int8=False, head="Model", **_SMALL),
    "distilbert_int8": engine_models.Recipe(
        family="distilbert", head="ForQuestionAnswering", per_channel=False, int8_tables=True, **_SMALL
    ),
    "electra_float": engine_models.Recipe(family="electra", int8=False, **_SMALL),
    "roberta_int8": engine_models.Recipe(family="roberta", **_SMALL),
    "mpnet_int8": engine_models.Recipe(family="mpnet", head="ForTokenClassification", **_SMALL),
}
ENGINE_SEEDS = tuple(f"{name}_{form}" for name in _RECIPES for form in ("bitmask", "packed"))


def make_engine_seeds(folder: Path) -> None:
    """Write `NAME.pofa` for each of ENGINE_SEEDS."""
    for name, recipe in _RECIPES.items():
        model = _write(folder / name, recipe, positions=42)  # small tables: what is damaged shall be the rest
        _compress(model, folder, f"{name}_")


def make_full_size(folder: Path, sparsity: float, layers: int) -> None:
    """Write `bitmask.pofa` and `packed.pofa` of a BERT-Base of random weights."""
    recipe = engine_models.Recipe(
        hidden=768, heads=12, intermediate=3072, layers=layers, sparsity=sparsity, attention_products=True
    )
    _compress(_write(folder / "model", recipe, positions=512, words=30522), folder, "")


def make_soak_models(folder: Path) -> list[Path]:
    """Write an int8 and a float model folder of two layers."""
    size = {"hidden": 64, "heads": 4, "intermediate": 128, "layers": 2, "sparsity": 0.9}
    recipes = {"int8": engine_models.Recipe(attention_products=True, **size)}
    recipes["float"] = engine_models.Recipe(family="distilbert", int8=False, head="ForQuestionAnswering", **size)
    return [_write(folder / name, recipe, positions=128) for name, recipe in recipes.items()]


def _write(folder: Path, recipe: engine_models.Recipe, *, positions: int, words: int = engine_models.WORDS) -> Path:
    before = engine_models.POSITIONS, engine_models.WORDS
    engine_models.POSITIONS, engine_models.WORDS = positions, words
    try:
        return engine_models.write_model(folder, recipe)
    finally:
        engine_models.POSITIONS, engine_models.WORDS = before


def _compress(model: Path, folder: Path, prefix: str) -> None:
    with safe_open(model / "model.safetensors", framework="np") as file:
        layers = [name for name in file.keys() if ".layer." in name and name.endswith("weight")]  # noqa: SIM118
    weights = [name for name in layers if "orm" not in name]
    for form in ("bitmask", "packed"):
        compress(model, folder / f"{prefix}{form}.pofa", form=form, encoder_weights=weights)

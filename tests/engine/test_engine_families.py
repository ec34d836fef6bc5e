"""Every family that the engine runs: batches, both forms of the file, sizes of tables, and the page that lists them."""

import json
from pathlib import Path

import engine_models
import numpy as np
import pytest
from engine_models import Recipe, token_ids, write_model
from safetensors import safe_open

from pruneofa.architectures.families import families
from pruneofa.checkpoint.writer import compress
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, DataError

FAMILIES = sorted(name for name, family in families().items() if family.in_engine)


def layer_weights(folder):
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return [key for key in file.keys() if ".layer." in key and key.endswith("weight") and "orm" not in key]  # noqa: SIM118


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_and_its_compressed_form_give_what_each_sequence_gives_alone(tmp_path, family):
    folder = write_model(tmp_path / "model", Recipe(family=family, padding=3))
    compress(folder, tmp_path / "model.pofa", int8=True, encoder_weights=layer_weights(folder))
    engines = Engine.load(folder), Engine.load(tmp_path / "model.pofa")
    ids = token_ids(0, 4, 70)
    mask = np.arange(70) < np.array([70, 3, 40, 18])[:, None]
    ids[~mask] = 3  # the id of padding
    outputs = [engine.run(ids, mask, hidden_states=True) for engine in engines]
    assert np.array_equal(outputs[0].hidden_states, outputs[1].hidden_states)
    for row, length in enumerate(mask.sum(axis=1)):
        alone = engines[0].run(ids[row : row + 1, :length], hidden_states=True)
        assert np.array_equal(alone.hidden_states[0], outputs[0].hidden_states[row, :length])
        assert np.array_equal(alone.logits[0], outputs[1].logits[row])


def test_a_vocabulary_of_a_hundred_languages(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_models, "WORDS", 250_002)
    recipe = Recipe(family="xlm-roberta", hidden=8, heads=2, intermediate=8, layers=1, int8_tables=True)
    engine = Engine.load(write_model(tmp_path, recipe))
    last, first = (engine.run([[0, word, 2]]).logits for word in (250_001, 4))
    assert np.isfinite(last).all() and not np.array_equal(last, first)
    with pytest.raises(DataError, match="input_ids holds 250002, allowed is 0 to 250001"):
        engine.run([[0, 250_002, 2]])


def test_one_type_of_tokens_and_positions_behind_the_padding_id(tmp_path):
    engine = Engine.load(write_model(tmp_path, Recipe(family="roberta", padding=9)))
    assert engine.max_tokens == engine_models.POSITIONS - 10
    with pytest.raises(DataError, match="token_type_ids holds 1, allowed is 0 to 0"):
        engine.run([[4, 5]], token_type_ids=[[0, 1]])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    with pytest.raises(CheckpointError, match="pad_token_id is None, allowed is a whole number from 0"):
        Engine.load(tmp_path)


def test_embeddings_of_another_size_are_checked_against_their_config(tmp_path):
    config = json.loads((write_model(tmp_path, Recipe(family="electra")) / "config.json").read_text())
    for size, message in ((21, r"shape \[60, 20\], \[any, 21\] is needed"), (None, "embedding_size is None, allowed")):
        (tmp_path / "config.json").write_text(json.dumps(config | {"embedding_size": size}))
        with pytest.raises(CheckpointError, match=message):
            Engine.load(tmp_path)


def test_the_page_lists_the_families_and_heads_of_the_registry():
    page = (Path(__file__).parents[2] / "docs" / "engine.md").read_text(encoding="utf-8")
    steps = {
        name: ", ".join(
            text
            for module, activation in family.classifier
            for text in (f"`{module.format(base='')}`", activation)
            if text != "none"
        )
        for name, family in families().items()
        if family.in_engine
    }
    expected = {f"| `{name}` | {steps[name]} | `qa_outputs` | `classifier` |" for name in steps}
    start = page.index("| model_type | classify |")
    table = page[start : page.index("\n\n", start)].splitlines()[2:]
    assert set(table) == expected

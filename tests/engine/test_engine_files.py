"""Compressed files: the engine computes from a `.pofa` file what it computes from the folder."""

import json

import numpy as np
import pytest
from engine_models import Recipe, token_ids, write_model, write_tokenizer

from pruneofa.checkpoint.writer import compress
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError


def encoder_weights(folder):
    from safetensors.numpy import load_file

    return [
        name
        for name in load_file(folder / "model.safetensors")
        if ".layer." in name and name.endswith(".weight") and "Norm" not in name and "norm" not in name
    ]


@pytest.mark.parametrize("form", ["bitmask", "packed"])
@pytest.mark.parametrize(
    "recipe", [Recipe(attention_products=True), Recipe(int8=False), Recipe(int8_tables=True)], ids=str
)
def test_a_file_computes_what_its_folder_does(tmp_path, recipe, form):
    folder = write_model(tmp_path / "model", recipe)
    write_tokenizer(folder)
    compress(folder, tmp_path / "model.pofa", form=form, encoder_weights=encoder_weights(folder))
    engine = Engine.load(tmp_path / "model.pofa")
    ids = token_ids(0, 2, 30)
    expected = Engine.load(folder).run(ids, hidden_states=True)
    found = engine.run(ids, hidden_states=True)
    assert np.array_equal(found.hidden_states, expected.hidden_states)
    assert np.array_equal(found.logits, expected.logits)
    assert engine.classify("w1 w2").label in engine.labels


def test_weights_made_int8_when_compressed_compute_in_float(tmp_path):
    folder = write_model(tmp_path / "model", Recipe(int8=False))
    compress(folder, tmp_path / "model.pofa", int8=True, encoder_weights=encoder_weights(folder))
    ids = token_ids(0, 2, 30)
    found = Engine.load(tmp_path / "model.pofa").run(ids, hidden_states=True).hidden_states
    expected = Engine.load(folder).run(ids, hidden_states=True).hidden_states
    assert 0 < np.abs(found - expected).max() < 0.2


def test_old_names_of_layer_norms_are_read(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = write_model(tmp_path / "model", Recipe(int8=False))
    ids = token_ids(0, 2, 30)
    expected = Engine.load(folder).run(ids, hidden_states=True).hidden_states
    weights = load_file(folder / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): values
        for name, values in weights.items()
    }
    assert old.keys() != weights.keys()
    save_file(old, folder / "model.safetensors")
    assert np.array_equal(Engine.load(folder).run(ids, hidden_states=True).hidden_states, expected)


def test_a_cut_file_is_refused(tmp_path):
    folder = write_model(tmp_path / "model", Recipe())
    path = tmp_path / "model.pofa"
    compress(folder, path, encoder_weights=encoder_weights(folder))
    content = path.read_bytes()
    for size in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"model.pofa"):
            Engine.load(path)
    for place in (int.from_bytes(content[:8], "little") + 11, len(content) // 2):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="does not match the SHA-256 in the manifest"):
            Engine.load(path)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"])
def test_a_head_that_the_config_does_not_name_is_found_by_its_weights(tmp_path, family, head):
    labels = 2 if head == "ForQuestionAnswering" else 3
    folder = write_model(tmp_path / "model", Recipe(family=family, head=head, int8=False, labels=labels))
    expected = Engine.load(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None}))
    found = Engine.load(folder)
    assert found.task == expected.task is not None
    ids = token_ids(0, 2, 9)
    assert np.array_equal(found.run(ids).logits, expected.run(ids).logits)


def test_a_head_for_answers_has_two_rows(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = write_model(tmp_path / "model", Recipe(head="ForQuestionAnswering", int8=False))
    weights = load_file(folder / "model.safetensors")
    weights["qa_outputs.weight"] = np.repeat(weights["qa_outputs.weight"], 2, axis=0)
    weights["qa_outputs.bias"] = np.repeat(weights["qa_outputs.bias"], 2)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"question answering has 4 rows, 2 are needed \(start and end\)"):
        Engine.load(folder)

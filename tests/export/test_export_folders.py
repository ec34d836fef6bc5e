"""An exported graph computes what its folder says, on what the folder's own tokenizer gives."""

import json

import numpy as np
import pytest
from odd_folders import TOKENIZER_EDITS, change, random_texts, write_model

from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.export.export_model import export_model

pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

TEXTS = random_texts(40, 30)


def run_as_documented(path, tokenizer_folder, texts=TEXTS):
    """The snippet of docs/export.md."""
    import onnxruntime
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=48, return_tensors="np")
    return session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})[0]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("model")
    write_model(folder, head="Model")
    entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules = {
        "1_Pooling": {"embedding_dimension": 16, "pooling_mode": ["cls", "max", "weightedmean", "lasttoken"]},
        "2_Dense": {"in_features": 64, "out_features": 8},
        "3_Normalize": {},
    }
    for number, (path, config) in enumerate(modules.items(), 1):
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(config))
        kind = path.partition("_")[2]
        entries.append({"idx": number, "name": path, "path": path, "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(entries))
    change(folder, "sentence_bert_config.json", max_seq_length=48)
    rng = np.random.default_rng(0)
    weights = {"linear.weight": rng.standard_normal((8, 64)), "linear.bias": rng.standard_normal(8)}
    save_file({k: v.astype(np.float32) for k, v in weights.items()}, folder / "2_Dense" / "model.safetensors")
    return folder


def test_a_folder_of_sentence_transformers_gives_its_own_vectors(embedder, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    summary = export_model(str(embedder), tmp_path / "model.onnx")
    assert summary.outputs == ("sentence_embedding",)
    assert summary.needs == ("texts are to be cut to 48 tokens (sentence_bert_config.json)",)
    found = run_as_documented(tmp_path / "model.onnx", embedder)
    expected = library.SentenceTransformer(str(embedder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_arguments_take_the_place_of_what_the_folder_says(embedder, tmp_path):
    assert export_model(str(embedder), tmp_path / "states.onnx", pooling="none").outputs == ("last_hidden_state",)
    with pytest.raises(ConfigurationError, match="pooling is 'sum', allowed are none, cls, max"):
        export_model(str(embedder), tmp_path / "model.onnx", pooling="sum")


def test_an_unknown_module_is_refused_by_name(tmp_path):
    write_model(tmp_path / "model", head="Model")
    entries = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_CNN", "type": "sentence_transformers.models.CNN"},
    ]
    (tmp_path / "model" / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match="is a CNN; known are a Transformer, then Pooling"):
        export_model(str(tmp_path / "model"), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_asks_for_no_token_types_that_the_tokenizer_does_not_give(tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    TOKENIZER_EDITS["DistilBERT's class"](folder)
    assert export_model(str(folder), tmp_path / "model.onnx").inputs == ("input_ids", "attention_mask")
    found = run_as_documented(tmp_path / "model.onnx", folder)
    raw = Engine.load(folder, precision="float32").classify(TEXTS, raw_scores=True)
    np.testing.assert_allclose(found, [list(one.scores.values()) for one in raw], atol=1e-5)

"""Embeddings of a folder are those of sentence-transformers, whatever its modules say."""

import json

import numpy as np
import pytest
from odd_folders import change, random_texts, write_model

from pruneofa.checkpoint.decompress import decompress
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, DataError
from pruneofa.models.folder_compression import compress_model

TEXTS = ["the cat", *random_texts(20), " ".join(["the Cat sat on a mat"] * 30)]
TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
MEAN = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
SHORT = {"max_seq_length": 40}  # sentence-transformers gives MPNet texts that are longer than it takes
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def module(folder, number, kind, config=None):
    """Write one module's folder and return its entry in modules.json."""
    path = f"{number}_{kind}"
    (folder / path).mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / path / "config.json").write_text(json.dumps(config))
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}


def sentence_folder(folder, *modules, family="bert", settings=None, first=TRANSFORMER, **model):
    """A folder whose modules are (kind, config), the first behind the encoder."""
    write_model(folder, family=family, head="Model", **model)
    entries = [module(folder, number, kind, config) for number, (kind, config) in enumerate(modules, 1)]
    (folder / "modules.json").write_text(json.dumps([first, *entries]))
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings or {}))
    return folder


def write_dense(folder, rows, columns, bias=True, residual=False):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {"linear.weight": rng.standard_normal((rows, columns)).astype(np.float32)}
    if bias:
        tensors["linear.bias"] = rng.standard_normal(rows).astype(np.float32)
    if residual:
        tensors["residual.weight"] = rng.standard_normal((rows, columns)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")


def assert_same(folder, texts=TEXTS, **arguments):
    library = pytest.importorskip("sentence_transformers")
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(texts, **arguments)
    found = Engine.load(folder, precision="float32").embed(texts, **arguments)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    return found


@pytest.mark.parametrize("mode", MODES)
def test_pooling(tmp_path, mode):
    assert_same(sentence_folder(tmp_path / "model", ("Pooling", {"embedding_dimension": 16, "pooling_mode": mode})))


@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
def test_families(tmp_path, family):
    assert_same(
        sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Normalize", None), family=family, settings=SHORT)
    )


def test_several_modes_stand_in_the_order_of_sentence_transformers(tmp_path):
    modes = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}
    found = assert_same(sentence_folder(tmp_path / "model", ("Pooling", {"word_embedding_dimension": 16, **modes})))
    assert found.shape[1] == 48


@pytest.mark.parametrize("settings", [{"max_seq_length": 12}, {"max_seq_length": None}, {"do_lower_case": True}])
def test_length_and_casing_of_sentence_bert_config(tmp_path, settings):
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Normalize", None), settings=settings)
    change(folder, "tokenizer_config.json", do_lower_case=False, model_max_length=30)
    assert_same(folder)


def test_a_folder_without_modules(tmp_path):
    write_model(tmp_path / "model", head="Model")
    change(tmp_path / "model", "tokenizer_config.json", model_max_length=20, truncation_side="left")
    change(tmp_path / "model", "sentence_bert_config.json", max_seq_length=10)  # not read without modules.json
    assert_same(tmp_path / "model")


@pytest.mark.parametrize("function", ["Tanh", "Identity", "GELU", "ReLU", "Sigmoid", "SiLU"])
def test_dense(tmp_path, function):
    where = "linear" if function == "Identity" else "activation"
    config = {"in_features": 16, "out_features": 8, "activation_function": f"torch.nn.modules.{where}.{function}"}
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Dense", config), ("Normalize", None))
    write_dense(folder / "2_Dense", 8, 16)
    assert assert_same(folder).shape[1] == 8


def test_dense_without_bias_and_with_a_way_around(tmp_path):
    config = {"in_features": 16, "out_features": 8, "bias": False, "use_residual": True}
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Dense", config))
    write_dense(folder / "2_Dense", 8, 16, bias=False, residual=True)
    assert_same(folder)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("mode", ["mean", "weightedmean", "cls"])
def test_prompts(tmp_path, include, mode):
    pooling = {"embedding_dimension": 16, "pooling_mode": mode, "include_prompt": include}
    folder = sentence_folder(tmp_path / "model", ("Pooling", pooling))
    change(
        folder, "config_sentence_transformers.json", prompts={"query": "the cat: ", "p": "a "}, default_prompt_name="p"
    )
    default = assert_same(folder)
    assert np.abs(assert_same(folder, prompt="the cat: ") - default).max() > 1e-3
    assert np.abs(Engine.load(folder).embed(TEXTS, prompt="") - default).max() > 1e-3


def test_an_encoder_in_a_folder_of_its_own(tmp_path):
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), first=TRANSFORMER | {"path": "0_Transformer"})
    (folder / "0_Transformer").mkdir()
    for file in [file for file in folder.iterdir() if file.is_file() and file.name != "modules.json"]:
        file.rename(folder / "0_Transformer" / file.name)
    assert_same(folder)


def test_arguments_take_the_place_of_what_the_folder_says(tmp_path):
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Normalize", None))
    engine = Engine.load(folder)
    states = engine.run(*_arrays(engine, TEXTS), hidden_states=True).hidden_states
    assert np.allclose(np.linalg.norm(engine.embed(TEXTS), axis=1), 1)
    np.testing.assert_allclose(engine.embed(TEXTS, pooling="cls", normalize=False), states[:, 0], atol=1e-6)
    short = engine.embed(TEXTS, max_tokens=6)
    np.testing.assert_allclose(short[-1], engine.embed("the Cat sat on"), atol=1e-6)
    with pytest.raises(DataError, match="max_tokens is 49, allowed is 1 to 48"):
        engine.embed(TEXTS, max_tokens=49)


def _arrays(engine, texts):
    batch = engine.tokenizer.encode(texts)
    return batch.input_ids, batch.attention_mask, batch.token_type_ids


def test_a_compressed_file_carries_the_modules_byte_for_byte(tmp_path):
    config = {"in_features": 16, "out_features": 8}
    folder = sentence_folder(
        tmp_path / "model", ("Pooling", MEAN), ("Dense", config), settings={"max_seq_length": 9}, seed=3
    )
    write_dense(folder / "2_Dense", 8, 16)
    compress_model(str(folder), str(tmp_path / "model.pofa"))
    found = Engine.load(tmp_path / "model.pofa").embed(TEXTS)
    assert np.array_equal(found, Engine.load(folder).embed(TEXTS))
    decompress(tmp_path / "model.pofa", tmp_path / "back")
    for file in folder.rglob("*"):
        if file.is_file():
            assert (tmp_path / "back" / file.relative_to(folder)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [("Pooling", MEAN), ("LSTM", {})],
            r"module 2 \(\"2_LSTM\"\) is a LSTM; known are a Transformer, then Pooling",
        ),
        ([("WeightedLayerPooling", {}), ("Pooling", MEAN)], r"module 1 .* is a WeightedLayerPooling"),
        ([("Pooling", MEAN), ("Dense", None)], r"holds no 2_Dense/config.json"),
        ([("Pooling", MEAN), ("Dense", {})], r"the Dense module '2_Dense' has no 2_Dense/model.safetensors"),
        ([("Pooling", {"pooling_mode": "sum"})], r"pooling_mode is \['sum'\], allowed are cls, max"),
        ([("Pooling", MEAN), ("Normalize", {"module_input_name": "token_embeddings"})], "a vector for each token"),
    ],
)
def test_modules_that_are_not_known_are_refused_by_name(tmp_path, modules, message):
    engine = Engine.load(sentence_folder(tmp_path / "model", *modules))
    with pytest.raises(CheckpointError, match=message):
        engine.embed("the cat")
    assert engine.run([[2, 3]], hidden_states=True).hidden_states.shape == (1, 2, 16)


def test_modules_outside_the_folder_are_refused(tmp_path):
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN))
    entries = json.loads((folder / "modules.json").read_text())
    entries[1]["path"] = "../1_Pooling"
    (folder / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(CheckpointError, match="allowed is a folder below this one"):
        Engine.load(folder).embed("the cat")


@pytest.mark.parametrize("mode", ["mean", "weightedmean", "max", "lasttoken", "cls", "mean_sqrt_len_tokens"])
def test_a_vector_is_the_same_bits_whatever_stands_beside_its_text(tmp_path, mode):
    engine = Engine.load(sentence_folder(tmp_path / "model", ("Pooling", {**MEAN, "pooling_mode": mode})))
    together = engine.embed(TEXTS)
    assert all(np.array_equal(engine.embed(text), together[row]) for row, text in enumerate(TEXTS))


def test_one_long_text_among_short_ones_is_not_paid_for_by_all(tmp_path, monkeypatch):
    """No array of [texts, longest, hidden] is made: its size would be that of 256 long texts."""
    engine = Engine.load(sentence_folder(tmp_path / "model", ("Pooling", MEAN)))
    sizes = []
    whole = np.zeros
    monkeypatch.setattr(
        np, "zeros", lambda shape, *rest, **more: sizes.append(np.prod(shape)) or whole(shape, *rest, **more)
    )
    engine.embed(["the cat"] * 255 + ["the cat sat on the mat " * 20])
    assert max(sizes, default=0) <= 256 * engine.max_tokens


def test_vectors_are_cut_behind_all_modules_where_the_folder_says_so(tmp_path):
    folder = sentence_folder(tmp_path / "model", ("Pooling", MEAN), ("Normalize", None))
    change(folder, "config_sentence_transformers.json", truncate_dim=6)
    assert assert_same(folder).shape == (len(TEXTS), 6)
    change(folder, "config_sentence_transformers.json", truncate_dim="6")
    with pytest.raises(CheckpointError, match="truncate_dim is '6', allowed is a whole number from 1, or null"):
        Engine.load(folder).embed("the cat")

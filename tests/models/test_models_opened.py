"""An opened model: a compressed file gives in memory what its folder gives."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from pruneofa.benchmarking.forms import prepare_model
from pruneofa.checkpoint import decompress
from pruneofa.checkpoint.model_folder import WEIGHTS_NAME
from pruneofa.checkpoint.writer import compress
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import CheckpointError
from pruneofa.export.export_model import export_model
from pruneofa.models.compressed import load_compressed
from pruneofa.models.folder_compression import compress_model
from pruneofa.models.opened import open_model
from pruneofa.models.saving import manifest_extra
from pruneofa.recipe.files import load_recipe
from pruneofa.stages import transfer
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.workflow.preflight import check_run


@pytest.fixture
def folder(small_world, tmp_path):
    shutil.copytree(small_world.model, tmp_path / "model")
    return tmp_path / "model"


def both(folder):
    """The folder, opened, and the same compressed."""
    compress_model(str(folder), str(folder.with_suffix(".pofa")))
    return open_model(str(folder)), open_model(str(folder.with_suffix(".pofa")))


def assert_same_weights(first, second):
    assert type(first) is type(second)
    expected = first.state_dict()
    for name, value in second.state_dict().items():
        assert value.dtype == expected[name].dtype and torch.equal(value, expected[name]), name


def test_a_compressed_file_gives_what_its_folder_gives(folder):
    saved, compressed = both(folder)
    for opened in (saved, compressed):
        assert opened.file("no such file") is None
    assert compressed.file("config.json") == saved.file("config.json")
    ours, theirs = compressed.config().to_dict(), saved.config().to_dict() | {"_name_or_path": compressed.name}
    assert ours == theirs
    tokens, expected = compressed.tokenizer(), saved.tokenizer()
    assert type(tokens) is type(expected)
    assert tokens.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()
    assert (tokens.special_tokens_map, tokens.model_max_length) == (
        expected.special_tokens_map,
        expected.model_max_length,
    )
    model = compressed.float_model(AutoModelForMaskedLM, head_is_trained=True)
    assert_same_weights(saved.float_model(AutoModelForMaskedLM, head_is_trained=True), model)
    assert not model.training and model.config.name_or_path == str(folder.with_suffix(".pofa"))


def test_tied_weights_are_tied(folder):
    _, compressed = both(folder)
    model = compressed.float_model(AutoModelForMaskedLM, head_is_trained=True)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_norms_under_their_old_names_are_found(folder):
    weights = load_file(folder / WEIGHTS_NAME)
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in weights.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    save_file(old, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    saved, compressed = both(folder)
    assert_same_weights(saved.float_model(AutoModelForMaskedLM), compressed.float_model(AutoModelForMaskedLM))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_as_from_a_folder(folder, dtype):
    weights = {name: value.to(dtype) for name, value in load_file(folder / WEIGHTS_NAME).items()}
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    saved, compressed = both(folder)
    assert all(value.dtype == dtype for value in compressed.state_dict().values())
    assert_same_weights(saved.float_model(AutoModelForMaskedLM), compressed.float_model(AutoModelForMaskedLM))


def test_weights_that_are_missing_are_not_made_up(folder):
    weights = load_file(folder / WEIGHTS_NAME)
    lost = "bert.encoder.layer.1.output.dense.weight"
    del weights[lost]
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    compressed = folder.with_suffix(".pofa")
    compress(folder, compressed, encoder_weights=["bert.encoder.layer.0.output.dense.weight"])
    with pytest.raises(CheckpointError, match=f"{compressed}.* lacks 1 weights of its encoder"):
        load_compressed(compressed)


def test_a_new_head_is_made_up_only_where_that_is_meant(folder):
    _, compressed = both(folder)
    with pytest.raises(CheckpointError, match="has no trained BertForSequenceClassification head"):
        compressed.model(AutoModelForSequenceClassification, head_is_trained=True)
    model = compressed.float_model(AutoModelForSequenceClassification, num_labels=3)
    assert model.classifier.out_features == model.config.num_labels == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "nope"}', '{"vocab_size": 3}'])
def test_a_damaged_config_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    compress(folder, folder.with_suffix(".pofa"), encoder_weights=[])
    with pytest.raises(CheckpointError, match=r"model\.pofa.*config\.json"):
        open_model(str(folder.with_suffix(".pofa"))).config()


def test_a_damaged_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("{")
    _, compressed = both(folder)
    with pytest.raises(CheckpointError, match=r"model\.pofa.*its tokenizer can't be loaded"):
        compressed.tokenizer()


def test_an_int8_file_knows_its_grids_and_its_stage(finished_run):
    saved, compressed = open_model(str(finished_run / "quantize")), open_model(str(finished_run / "model.pofa"))
    assert compressed.manifest() == saved.manifest() is not None
    ours, theirs = compressed.quantization(), saved.quantization()
    assert ours is not None and theirs is not None and ours.config == theirs.config
    for name, parameters in theirs.modules.items():
        assert torch.equal(ours.modules[name].weight_scale, parameters.weight_scale)
        assert torch.equal(ours.modules[name].input_scale, parameters.input_scale)
    assert open_model(str(finished_run / "transfer")).quantization() is None


@pytest.mark.slow
def test_a_compressed_file_is_never_unpacked_to_disk(finished_run, small_world, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpacked")

    task = TaskConfig(train=str(small_world.train), evaluation=str(small_world.evaluation), max_length=16)
    from_folder = evaluate_model(str(finished_run / "quantize"), task)
    monkeypatch.setattr(decompress, "_write_folder", refuse)
    file = str(finished_run / "model.pofa")
    assert evaluate_model(file, task) == from_folder
    assert prepare_model(file, (), tmp_path / "bench").description["int8"]
    assert not (tmp_path / "bench" / "model").exists()
    pytest.importorskip("onnx")
    assert export_model(file, tmp_path / "model.onnx", verify=False).int8


@pytest.mark.slow
def test_a_stage_starts_from_a_compressed_file_as_from_its_folder(finished_run, small_world, tmp_path):
    sparse, file = finished_run / "prune", tmp_path / "sparse.pofa"
    compress_model(str(sparse), str(file), form="packed")
    assert manifest_extra(str(file)) == manifest_extra(str(sparse)) != {}
    recipe = load_recipe(str(small_world.recipe), ["transfer.training.max_steps=2"])
    for name, start in (("folder", sparse), ("file", file)):
        inputs = {"sparse": str(start), "task_teacher": str(finished_run / "finetune")}
        transfer.run(recipe, inputs, tmp_path / name)
    first, second = (load_file(tmp_path / name / WEIGHTS_NAME) for name in ("folder", "file"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_may_start_from_a_compressed_file(folder, small_world):
    both(folder)
    recipe = load_recipe(str(small_world.recipe), [f"model.name_or_path={folder.with_suffix('.pofa')}"])
    check_run(recipe)


def test_a_name_on_the_hub_is_int8_where_its_repository_says_so(finished_run, monkeypatch):
    """Nothing here asks the network: what would be fetched lies in a folder."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository = {"folder": finished_run / "quantize", "reachable": True}

    def fetched(name, file):
        assert name == "someone/model"
        if not repository["reachable"]:
            raise LocalEntryNotFoundError("no answer")
        if not (repository["folder"] / file).exists():
            raise EntryNotFoundError("404")
        return str(repository["folder"] / file)

    monkeypatch.setattr("pruneofa.data.sources.packaged.hub_fault", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    opened = open_model("someone/model")
    assert opened.quantization() is not None
    assert opened.manifest() == open_model(str(finished_run / "quantize")).manifest()
    repository["reachable"] = False
    with pytest.raises(
        CheckpointError, match=r"'someone/model': quantization\.safetensors can't be fetched: no answer"
    ):
        opened.quantization()
    repository.update(folder=finished_run / "transfer", reachable=True)
    assert opened.quantization() is None


@pytest.mark.parametrize("values", [{"id2label": ["a", "b"]}, {"pad_token_id": "0"}, {"max_position_embeddings": "32"}])
def test_a_config_of_other_types_is_one_error_that_names_it(folder, values):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")
    for read in (open_model(str(folder)).config, open_model(str(folder)).tokenizer):
        with pytest.raises(CheckpointError, match="can't be read"):
            read()


def test_a_hidden_size_of_nothing_is_an_error(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 0}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="can't be loaded"):
        open_model(str(folder)).float_model(AutoModelForMaskedLM)


def test_a_folder_without_a_vocabulary_has_no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="no vocabulary"):
        open_model(str(folder)).tokenizer()


@pytest.mark.parametrize("length", [0, -1, "20", True])
def test_a_length_that_nothing_can_be_cut_to_is_named(folder, length):
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": length}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="model_max_length is"):
        open_model(str(folder)).tokenizer()

"""Loading and saving models: damaged ones are refused, and random weights never pass for trained ones."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
)

from pruneofa.architectures.linears import encoder_linears
from pruneofa.architectures.positions import longest_sequence
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import CheckpointError, ConfigurationError, DataError
from pruneofa.models.compressed import load_compressed, save_compressed
from pruneofa.models.folder_compression import compress_model
from pruneofa.models.loading import load_any, load_config, load_model, load_tokenizer, model_class
from pruneofa.models.saving import manifest_extra, save_model
from pruneofa.models.task_heads import load_trained_on_task
from pruneofa.stages.evaluate import evaluate_into, evaluate_model
from pruneofa.training.tasks import load_task_model
from pruneofa.training.teacher_logits import store_logits, stored_logits


@pytest.fixture
def model_copy(small_world, tmp_path):
    return shutil.copytree(small_world.model, tmp_path / "model")


@pytest.fixture
def batch(small_world):
    tokenizer = AutoTokenizer.from_pretrained(small_world.model)
    return tokenizer(["the film was good", "a very dull plot and cold music"], padding=True, return_tensors="pt")


def task_of(small_world, **changes):
    settings = {"train": str(small_world.train), "evaluation": str(small_world.evaluation), "max_length": 16}
    return TaskConfig.model_validate(settings | changes)


def test_a_truncated_model_is_refused(model_copy):
    weights = model_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"can't be loaded: .*give a folder with config\.json and an intact"):
        load_model(AutoModelForMaskedLM, str(model_copy))


def test_a_model_without_weights_or_config_is_refused(model_copy):
    (model_copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="can't be loaded"):
        load_model(AutoModelForMaskedLM, str(model_copy))
    (model_copy / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_model(AutoModelForMaskedLM, str(model_copy))


def test_norms_that_came_under_their_old_names_are_saved_under_todays(model_copy, tmp_path, batch):
    file = model_copy / "model.safetensors"
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in load_file(file).items()
    }
    assert any(name.endswith("gamma") for name in old)
    save_file(old, file, metadata={"format": "pt"})
    model = load_model(AutoModelForMaskedLM, str(model_copy), head_is_trained=True).eval()
    save_model(model, None, tmp_path / "saved", stage="teach")
    names = set(load_file(tmp_path / "saved" / "model.safetensors"))
    assert not [name for name in names if name.endswith((".gamma", ".beta"))]
    assert {name for name in names if "LayerNorm" in name} <= set(model.state_dict())
    again = load_model(AutoModelForMaskedLM, str(tmp_path / "saved"), head_is_trained=True).eval()
    assert torch.equal(again(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "nope"}', ""])
def test_a_damaged_config_is_refused(model_copy, text):
    (model_copy / "config.json").write_text(text)
    with pytest.raises(CheckpointError):
        load_config(str(model_copy))


def test_a_missing_or_damaged_tokenizer_is_refused(model_copy):
    (model_copy / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"its tokenizer can't be loaded.*intact tokenizer\.json"):
        load_tokenizer(str(model_copy))


def test_weights_that_are_missing_from_the_encoder_are_not_made_up(model_copy):
    weights = load_file(model_copy / "model.safetensors")
    lost = "bert.encoder.layer.1.output.dense.weight"
    del weights[lost]
    save_file(weights, model_copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"lacks 1 weights of its encoder, {lost}"):
        load_model(AutoModelForMaskedLM, str(model_copy))


def test_a_new_head_is_made_up_only_where_that_is_meant(small_world):
    load_model(AutoModelForSequenceClassification, str(small_world.model))
    with pytest.raises(CheckpointError, match="has no trained BertForSequenceClassification head"):
        load_model(AutoModelForSequenceClassification, str(small_world.model), head_is_trained=True)
    with pytest.raises(CheckpointError, match="its answers would be random"):
        evaluate_model(str(small_world.model), task_of(small_world))


def test_saved_models_compute_the_same_through_plain_from_pretrained(finished_run, batch):
    for stage, auto_class in (
        ("teach", AutoModelForMaskedLM),
        ("prune", AutoModelForMaskedLM),
        ("finetune", AutoModelForSequenceClassification),
        ("transfer", AutoModelForSequenceClassification),
    ):
        plain = auto_class.from_pretrained(finished_run / stage).eval()
        ours = load_model(auto_class, str(finished_run / stage), head_is_trained=True).eval()
        with torch.no_grad():
            assert torch.equal(plain(**batch).logits, ours(**batch).logits)
        assert AutoTokenizer.from_pretrained(finished_run / stage)("good film")["input_ids"]


def test_an_int8_model_loads_plainly_on_its_grid_and_in_its_rounded_form(finished_run, batch):
    folder = finished_run / "quantize"
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rounded = load_any(AutoModelForSequenceClassification, str(folder))
    scales = load_file(folder / "quantization.safetensors")
    name = "bert.encoder.layer.0.intermediate.dense"
    weight, scale = plain.get_submodule(name).weight, scales[f"{name}.weight_scale"]
    levels = weight / scale[:, None]
    assert torch.equal(levels.round() * scale[:, None], weight)
    assert levels.abs().max() <= 127.5
    with torch.no_grad():
        difference = (plain(**batch).logits - rounded(**batch).logits).abs().max()
    assert 0 < difference < 0.2  # the activations' rounding


def test_save_and_load_compressed_give_the_very_model_back(finished_run, tmp_path, batch):
    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "transfer")
    summary = save_compressed(model, tmp_path / "m.pofa", tokenizer=tokenizer)
    assert summary.bytes_written == (tmp_path / "m.pofa").stat().st_size
    back = load_compressed(tmp_path / "m.pofa").eval()
    assert type(back) is type(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value.view(torch.uint8), back.state_dict()[name].view(torch.uint8)), name
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, back(**batch).logits)
    assert type(load_compressed(tmp_path / "m.pofa", AutoModel)).__name__ == "BertModel"


def test_the_published_file_computes_as_the_folder_that_it_came_from(finished_run, batch):
    from_file = load_compressed(finished_run / "model.pofa")
    from_folder = load_any(AutoModelForSequenceClassification, str(finished_run / "quantize"))
    with torch.no_grad():
        assert torch.equal(from_file(**batch).logits, from_folder(**batch).logits)


def test_int8_on_the_way_into_the_file(finished_run, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer")
    save_compressed(model, tmp_path / "float.pofa")
    save_compressed(model, tmp_path / "int8.pofa", int8=True)
    exact, rounded = inspect_model(tmp_path / "float.pofa"), inspect_model(tmp_path / "int8.pofa")
    assert rounded.as_dict()["bytes_encoder"] < exact.as_dict()["bytes_encoder"]
    assert rounded.as_dict()["nominal_ratio"] == pytest.approx(4 * exact.as_dict()["nominal_ratio"], rel=0.05)
    # Its weights are rounded and nothing else: there are no grids of activations to compute with.
    weights = encoder_linears(model)
    for name, linear in encoder_linears(load_compressed(tmp_path / "int8.pofa")).items():
        assert type(linear) is torch.nn.Linear
        step = weights[name].weight.abs().amax(dim=1, keepdim=True) / 127
        assert ((linear.weight - weights[name].weight).abs() <= 0.501 * step).all()


def test_a_folder_that_another_tool_saved_is_compressed_too(small_world, tmp_path):
    compress_model(str(small_world.model), str(tmp_path / "m.pofa"))
    back = load_compressed(tmp_path / "m.pofa")
    assert type(back) is BertForMaskedLM
    original = AutoModelForMaskedLM.from_pretrained(small_world.model)
    for name, value in original.state_dict().items():
        assert torch.equal(value, back.state_dict()[name])


def test_a_folder_that_is_not_there_is_not_looked_for_elsewhere(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder; give the folder of a model"):
        compress_model("nowhere", str(tmp_path / "m.pofa"))


def test_a_config_names_no_class_but_a_models(small_world, model_copy):
    for name in ("logging", "set_seed", "AutoConfig", "os.system", "NoSuchModel"):
        config = json.loads((model_copy / "config.json").read_text())
        (model_copy / "config.json").write_text(json.dumps(config | {"architectures": [name]}))
        assert model_class(load_config(str(model_copy))) is AutoModel


def test_a_full_disk_is_told_with_its_place(small_world, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    model = AutoModelForMaskedLM.from_pretrained(small_world.model)

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(model, "save_pretrained", full)
    with pytest.raises(CheckpointError, match=f"{tmp_path}.*No space left on device.*free some space"):
        save_model(model, None, tmp_path, stage="teach")


def test_what_is_known_of_a_model_goes_along(finished_run, small_world):
    assert manifest_extra(str(finished_run / "prune"))["recipe"] == "small"
    assert manifest_extra(str(small_world.model)) == {}
    assert manifest_extra("some/hub-model") == {}


@pytest.mark.parametrize(("model_type", "expected"), [("bert", 32), ("roberta", 30), ("mpnet", 30)])
def test_the_longest_sequence_leaves_out_positions_of_the_padding(model_type, expected):
    from transformers import AutoConfig

    assert longest_sequence(AutoConfig.for_model(model_type, max_position_embeddings=32)) == expected


def test_a_task_model_must_know_the_tasks_labels(finished_run, small_world):
    with pytest.raises(DataError, match=r"knows the labels down, up, the task has 0, 1.*task\.label_names"):
        load_trained_on_task("model 'm'", str(finished_run / "transfer"), "classification", ["0", "1"])
    _, model, data = load_task_model(str(finished_run / "transfer"), task_of(small_world), head_is_trained=True)
    assert data.label_names == ["down", "up"]
    assert model.config.id2label == {0: "down", 1: "up"}


def test_evaluation_with_an_unseen_label_is_refused(finished_run, small_world, tmp_path):
    (tmp_path / "dev.csv").write_text("text,label\nthe film,sideways\n")
    task = task_of(small_world, evaluation=str(tmp_path / "dev.csv"))
    with pytest.raises(DataError, match=r"dev\.csv:2: the label 'sideways' is not among the model's labels"):
        evaluate_model(str(finished_run / "transfer"), task)


def test_an_evaluation_folder_holds_one_evaluation(finished_run, small_world, tmp_path):
    task, folder = task_of(small_world), tmp_path / "evaluation"
    metrics = evaluate_into(folder, str(finished_run / "model.pofa"), task)
    assert evaluate_into(folder, str(finished_run / "model.pofa"), task) == metrics
    document = json.loads((folder / "predictions.json").read_text())
    predictions = document["examples"]
    assert document["metrics"] == metrics and document["label_names"] == ["down", "up"]
    right = sum(entry["label"] == entry["prediction"] for entry in predictions)
    assert metrics == {"accuracy": right / len(predictions)}
    with pytest.raises(ConfigurationError, match=r"holds the evaluation of .*model\.pofa.* on 'classification'"):
        evaluate_into(folder, str(finished_run / "transfer"), task)
    evaluate_into(folder, str(finished_run / "transfer"), task, overwrite=True)
    (folder / "letter").touch()
    with pytest.raises(ConfigurationError, match="holds files that no evaluation wrote"):
        evaluate_into(folder, str(finished_run / "transfer"), task, overwrite=True)


def test_a_teachers_logits_are_kept_for_the_same_examples_alone(finished_run, small_world, tmp_path):
    _, _, data = load_task_model(str(finished_run / "finetune"), task_of(small_world))
    kept = stored_logits(finished_run / "finetune", data.train)
    assert kept is not None and np.shape(kept["logits"]) == (len(data.train), 2)
    assert stored_logits(finished_run / "finetune", data.evaluation) is None
    store_logits(tmp_path, data.train, kept)
    path = tmp_path / ".stage" / "train_logits.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    assert stored_logits(tmp_path, data.train) is None

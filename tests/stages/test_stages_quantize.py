"""Quantization of a task model: trained or calibrated, ranked by module, and what its small file holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pruneofa.architectures.linears import embedding_tables, encoder_linears
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.data.tasks.calibration import read_texts, sample_batches
from pruneofa.errors import ConfigurationError, DataError
from pruneofa.models.folder_compression import compress_model
from pruneofa.models.loading import load_any
from pruneofa.quantization.qat import quantized_linears
from pruneofa.recipe.files import load_recipe
from pruneofa.stages import quantize
from pruneofa.stages.evaluate import evaluate_model
from pruneofa.stages.sensitivity import JSON_NAME, PICTURE_NAMES
from pruneofa.stages.sensitivity import run as run_sensitivity
from pruneofa.workflow.preflight import check_run


def recipe_of(small_world: Any, *overrides: str) -> Any:
    return load_recipe(str(small_world.recipe), ["quantize.calibration.examples=20", *overrides])


def quantized(finished_run: Path, small_world: Any, output: Path, *overrides: str) -> dict[str, Any]:
    inputs = {"task_model": str(finished_run / "transfer"), "task_teacher": str(finished_run / "finetune")}
    output.mkdir()
    return quantize.run(recipe_of(small_world, *overrides), inputs, output)


CALIBRATED = "quantize.method=calibration"
EMBEDDINGS = "quantize.quantization.embeddings=per_row"


@pytest.mark.parametrize("kind", ["moving_average", "percentile", "mse"])
def test_calibration_needs_no_teacher_and_leaves_an_int8_model(
    finished_run: Path, small_world: Any, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "int8"
    output.mkdir()
    recipe = recipe_of(small_world, CALIBRATED, f"quantize.quantization.activation_range={kind}")
    results = quantize.run(recipe, {"task_model": str(finished_run / "transfer")}, output)
    assert results["sparsity"] == pytest.approx(0.85, abs=0.001)
    text = results["quantization"]["text"]
    assert text.startswith("calibration on 20 texts; weights on -127...127, one scale per row; activations uint8")
    manifest = read_manifest(output)
    assert manifest is not None and manifest.extra["quantization"] == text
    assert manifest.quantization is not None and manifest.quantization["activation_range"] == kind
    before = dict(AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer").named_parameters())
    after = dict(AutoModelForSequenceClassification.from_pretrained(output).named_parameters())
    for name, weight in after.items():
        assert torch.allclose(weight, before[name], atol=before[name].abs().max().item() / 200)
    exact, rounded = (evaluate_model(str(path), recipe.task).metrics for path in (finished_run / "transfer", output))
    assert rounded["accuracy"] == pytest.approx(exact["accuracy"], abs=1 / 8)  # two of sixteen


def test_calibration_on_texts_without_labels(finished_run: Path, small_world: Any, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "\n\n".join(f"the film was good and the music dull {n}" for n in range(9)) + "\n", encoding="utf-8"
    )
    results = quantized(
        finished_run, small_world, tmp_path / "int8", CALIBRATED, f"quantize.calibration.source={texts}", "task=null"
    )
    assert results["quantization"]["method"] == "calibration on 9 texts"
    with pytest.raises(DataError, match="missing"):
        quantized(finished_run, small_world, tmp_path / "none", CALIBRATED, "quantize.calibration.source=missing.txt")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["moving_average", "mse"])
def test_training_with_rounding_keeps_zeros_and_says_what_it_did(
    finished_run: Path, small_world: Any, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "int8"
    results = quantized(finished_run, small_world, output, f"quantize.quantization.activation_range={kind}", EMBEDDINGS)
    summary = results["quantization"]
    assert summary["method"] == "quantization-aware training, 4 steps"
    assert summary["embedding_tables"] == 3 and "embeddings in 8 bits" in summary["text"]
    before = encoder_linears(AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer"))
    after = encoder_linears(AutoModelForSequenceClassification.from_pretrained(output))
    for name, linear in after.items():
        assert (linear.weight[before[name].weight == 0] == 0).all()
    model = load_any(AutoModelForSequenceClassification, str(output))
    assert all(q.has_grid for linear in quantized_linears(model).values() for q in [linear.input_quantizer])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bitmask", "packed"])
def test_embeddings_go_into_the_small_file_as_int8(
    finished_run: Path, small_world: Any, tmp_path: Path, form: str
) -> None:
    sizes = {}
    for name, overrides in {"float": [], "int8": [EMBEDDINGS], "table": [f"{EMBEDDINGS[:-3]}tensor"]}.items():
        folder = tmp_path / name
        quantized(finished_run, small_world, folder, CALIBRATED, *overrides)
        summary = compress_model(str(folder), str(tmp_path / f"{name}.pofa"), form=form)
        assert summary.off_grid == ()
        sizes[name] = inspect_model(tmp_path / f"{name}.pofa").as_dict()
        decompress(tmp_path / f"{name}.pofa", tmp_path / f"{name}-back")
        for file in ("model.safetensors", "quantization.safetensors"):
            assert (tmp_path / f"{name}-back" / file).read_bytes() == (folder / file).read_bytes()
    tables = {
        name: {t["name"]: t for t in facts["tensors"] if "embeddings." in t["name"]} for name, facts in sizes.items()
    }
    words = "bert.embeddings.word_embeddings.weight"
    assert tables["float"][words]["encoding"] == "dense" or form == "packed"
    for name in ("int8", "table"):
        # A table has hardly a zero, so its levels are taken as they are where nothing makes them smaller.
        assert tables[name][words]["encoding"] in ("dense_int8", *(["packed_int8"] if form == "packed" else []))
        assert tables[name][words]["bytes"] < 0.55 * tables["float"][words]["bytes"]
        assert sizes[name]["bytes_encoder"] == sizes["float"]["bytes_encoder"]
        assert sizes[name]["nominal_ratio"] == sizes["float"]["nominal_ratio"]
        assert sizes[name]["bytes_total"] < sizes["float"]["bytes_total"]


def test_kept_weights_at_zero_stay_in_the_pattern_of_folder_and_file(
    finished_run: Path, small_world: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "int8"
    results = quantized(
        finished_run,
        small_world,
        folder,
        CALIBRATED,
        "quantize.quantization.weight_granularity=per_tensor",
        "quantize.quantization.weight_step=120",
    )
    kept = results["quantization"]["kept_weights_at_zero"]
    assert kept > 0
    assert results["sparsity"] == pytest.approx(0.85, abs=0.001)  # that of the pattern
    manifest = read_manifest(folder)
    assert manifest is not None
    stored = load_file(folder / "quantization.safetensors")
    zeros = listed = 0
    for name, linear in encoder_linears(AutoModelForSequenceClassification.from_pretrained(folder)).items():
        indices = stored.get(f"{name}.weight_kept_zeros", np.zeros(0, np.int32))
        listed += indices.size
        counted = int((linear.weight == 0).sum())
        zeros += counted
        assert manifest.sparsity[f"{name}.weight"]["zeros"] == counted - indices.size
        assert (linear.weight.detach().numpy().reshape(-1)[indices] == 0).all()
    assert 0 < listed <= kept and zeros > 0
    assert compress_model(str(folder), str(tmp_path / "model.pofa"), form="packed").off_grid == ()
    back = decompress(tmp_path / "model.pofa", tmp_path / "back")
    assert ModelFolder(back).weight_names().sparsity == manifest.sparsity
    load_any(AutoModelForSequenceClassification, str(back))


@pytest.mark.slow
def test_steps_for_so_many_bits_a_value_are_recorded(finished_run: Path, small_world: Any, tmp_path: Path) -> None:
    per_tensor = "quantize.quantization.weight_granularity=per_tensor"
    named = "quantize.quantization.weight_steps={'*.layer.0.attention.self.query': 2}"
    results = quantized(
        finished_run, small_world, tmp_path / "int8", CALIBRATED, per_tensor, named, "quantize.value_bits=3.5"
    )
    steps = results["quantization"]["config"]["weight_steps"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "int8")
    query = "bert.encoder.layer.0.attention.self.query"
    assert set(steps) - {"*.layer.0.attention.self.query"} == set(encoder_linears(model)) - {query}
    quantized_model = load_any(AutoModelForSequenceClassification, str(tmp_path / "int8"))
    before = encoder_linears(AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer"))
    for name, linear in quantized_linears(quantized_model).items():
        if name in before:
            step = 2 if name == query else steps[name]
            expected = before[name].weight.abs().max().item() / 127 * step
            assert linear.weight_quantizer.scale_of(linear.weight).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_sensitivity_ranks_every_module(finished_run: Path, small_world: Any, tmp_path: Path) -> None:
    recipe = recipe_of(small_world, EMBEDDINGS, "quantize.quantization.attention_products=true")
    facts = run_sensitivity(recipe, {"task_model": str(finished_run / "transfer")}, tmp_path)
    assert json.loads((tmp_path / JSON_NAME).read_text()) == facts
    names = [row["name"] for row in facts["modules"]]
    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "transfer")
    attentions = {f"bert.encoder.layer.{n}.attention.self" for n in range(2)}
    heads = {"bert.pooler.dense", "classifier"}
    assert names[0] == "all" and len(names) == len(set(names))
    assert set(names[1:]) == set(encoder_linears(model)) | heads | set(embedding_tables(model)) | attentions
    assert facts["examples"] == 20 and facts["modules"][0]["loss_change"] is not None
    svg, png = ((tmp_path / name).read_bytes() for name in PICTURE_NAMES)
    assert b"<svg" in svg and b"bert.encoder.layer.0" in svg and png.startswith(b"\x89PNG")


def test_samples_are_a_function_of_the_seed_and_leave_labels_out(small_world: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_world.model)
    task = load_recipe(str(small_world.recipe)).task
    dataset = read_texts(str(small_world.train), task, tokenizer, 32)
    assert len(dataset) == 48 and dataset.lengths.max() <= 16
    batches = sample_batches(dataset, 20, 8, 0, seed=1)
    assert [len(batch["input_ids"]) for batch in batches] == [8, 8, 4]
    assert set(batches[0]) == {"input_ids", "attention_mask"}
    again, other = sample_batches(dataset, 20, 8, 0, seed=1), sample_batches(dataset, 20, 8, 0, seed=2)
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(batches, again, strict=True))
    assert any(
        a["input_ids"].shape != b["input_ids"].shape or not torch.equal(a["input_ids"], b["input_ids"])
        for a, b in zip(batches, other, strict=True)
    )
    assert sum(len(batch["input_ids"]) for batch in sample_batches(dataset, 999, 8, 0, seed=1)) == 48
    assert "labels" in sample_batches(dataset, 20, 8, 0, seed=1, targets=("labels",))[0]


def test_questions_calibrate_beside_their_texts(small_world: Any, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_world.model)
    rows = tmp_path / "questions.jsonl"
    rows.write_text(json.dumps({"question": "was it good", "context": "the film " * 300}) + "\n")
    first = read_texts(str(rows), None, tokenizer, 512)[0]
    assert len(first["input_ids"]) == 384 and list(first["input_ids"]).count(tokenizer.sep_token_id) == 2
    task = load_recipe(str(small_world.recipe)).task  # gives a length
    assert len(read_texts(str(rows), task, tokenizer, 512)[0]["input_ids"]) == 16


def test_a_calibrated_recipe_needs_no_teacher(small_world: Any) -> None:
    settings = ["finetune=null", "transfer.distillation=null"]
    with pytest.raises(ConfigurationError, match=r"quantize\.distillation: is on, but without the section finetune"):
        check_run(recipe_of(small_world, *settings))
    check_run(recipe_of(small_world, *settings, CALIBRATED))
    with pytest.raises(DataError, match=r"quantize\.calibration\.source: .*missing\.txt"):
        check_run(recipe_of(small_world, CALIBRATED, "quantize.calibration.source=missing.txt"))


@pytest.mark.slow
def test_command_line_calibrates_and_ranks(cli: Any, finished_run: Path, small_world: Any, tmp_path: Path) -> None:
    common = ["--model_name_or_path", finished_run / "transfer", "--calibrate", "12"]
    texts = ["--train_file", small_world.train, "--max_length", "16"]
    done = cli("quantize", *common, *texts, "--output_dir", tmp_path / "int8")
    assert done.code == 0, done.err
    assert "calibration on 12 texts; weights on -127...127" in done.out and "sparsity: 0.8496" in done.out
    done = cli("quantize", *common, *texts, "--sensitivity", "--output_dir", tmp_path / "ranks")
    assert done.code == 0, done.err
    assert "| module" in done.out and "bert.encoder.layer.1.output.dense" in done.out
    assert (tmp_path / "ranks" / "sensitivity.png").exists()
    unlabelled = tmp_path / "texts.txt"
    unlabelled.write_text("the film was good\n\nthe plot was dull\n", encoding="utf-8")
    done = cli("quantize", *common, "--calibration_file", unlabelled, "--output_dir", tmp_path / "texts")
    assert done.code == 0 and "calibration on 2 texts" in done.out, done.err


def test_command_line_refuses_what_contradicts_itself(cli: Any, finished_run: Path, tmp_path: Path) -> None:
    common = ["--model_name_or_path", finished_run / "transfer", "--output_dir", tmp_path / "int8"]
    done = cli("quantize", *common, "--calibrate", "12", "--max_steps", "3")
    assert done.code == 2 and "--max_steps: nothing is trained with --calibrate" in done.err
    done = cli("quantize", *common, "--calibrate", "0", "--calibration_file", "x.txt")
    assert done.code == 2 and "--calibrate" in done.err


def with_outliers(model: Any) -> None:
    """Some channels become ten thousand times as large, and what reads them as much smaller: the same function."""
    norm, reader = model.bert.encoder.layer[-1].output.LayerNorm, model.bert.pooler.dense
    with torch.no_grad():
        for values in (norm.weight, norm.bias):
            values[::8] *= 1e4
        reader.weight[:, ::8] /= 1e4


@pytest.mark.slow
def test_what_quantization_costs_is_told_and_recorded(
    finished_run: Path, small_world: Any, tmp_path: Path, caplog: Any
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "finetune")
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "finetune")
    texts = [line.split(",")[0] for line in small_world.train.read_text().splitlines()[1:]]
    with torch.no_grad():  # both labels are given
        model.classifier.weight.mul_(100.0)
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        model.classifier.bias.sub_(logits.median(0).values)
    for name in ("usual", "outliers"):
        if name == "outliers":
            with_outliers(model)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    costs = {}
    for name in ("usual", "outliers"):
        caplog.clear()
        output = tmp_path / f"{name}-int8"
        output.mkdir()
        with caplog.at_level("WARNING", logger="pruneofa"):
            results = quantize.run(recipe_of(small_world, CALIBRATED), {"task_model": str(tmp_path / name)}, output)
        summary = results["quantization"]
        costs[name] = summary["cost"]
        assert summary["text"].endswith(summary["cost"]["text"])
        assert summary["cost"]["examples"] == 20
        told = [message for message in caplog.messages if message.startswith("QUANTIZATION CHANGES WHAT THE MODEL")]
        assert len(told) == (summary["cost"]["agreement"] < 0.95)
    assert costs["outliers"]["agreement"] < 0.95
    assert costs["outliers"]["largest_change"] > 10 * costs["usual"]["largest_change"]


@pytest.mark.slow
def test_what_training_with_rounding_costs_is_told_too(
    finished_run: Path, small_world: Any, tmp_path: Path, cli: Any
) -> None:
    common = ("--model_name_or_path", finished_run / "transfer", "--train_file", small_world.train)
    outcome = cli(
        *("quantize", *common, "--validation_file", small_world.evaluation, "--output_dir", tmp_path / "int8"),
        *("--max_length", 16, "--max_steps", 2, "--set", "quantize.distillation=null"),
    )
    assert outcome.code == 0, outcome.err
    assert "int8 gives the float model's label to" in outcome.out
    record = json.loads((tmp_path / "int8" / ".stage" / "record.json").read_text())
    assert record["results"]["quantization"]["cost"]["examples"] == 48

"""Pruning a saved model without training: what the folder holds, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, ConfigurationError, DataError
from pruneofa.models.loading import load_config, load_model, model_class
from pruneofa.models.opened import open_model
from pruneofa.sparsity.budget import prune_count
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.stages.one_shot import REPORT_NAME, CalibrationTexts, calibration_batches, prune_in_one_shot

QUICK = ReconstructionConfig(target_sparsity=0.6, iterations=5)


@pytest.fixture
def texts(small_world, tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    shutil.copy(small_world.corpus, path)
    return path


@pytest.fixture
def embedder(small_world, tmp_path) -> Path:
    """The small model as sentence-transformers would save it: mean pooling, then unit length, 12 tokens."""
    folder = tmp_path / "embedder"
    shutil.copytree(small_world.model, folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}', encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_folder_loads_and_says_what_is_zero(small_world, texts, tmp_path):
    out, steps = tmp_path / "out", []
    summary = prune_in_one_shot(
        str(small_world.model), out, CalibrationTexts(str(texts)), QUICK, progress=lambda *step: steps.append(step)
    )
    model = load_model(model_class(load_config(str(out))), str(out), head_is_trained=True)
    assert type(model).__name__ == "BertForMaskedLM"
    weights = {name: linear.weight for name, linear in encoder_linears(model).items()}
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    assert zeros == prune_count(0.6, sum(weight.numel() for weight in weights.values()))
    assert summary.sparsity == pytest.approx(0.6, abs=1e-4)
    manifest = read_manifest(out)
    assert manifest.stage == "one-shot"
    assert manifest.extra["one_shot"]["tokens"] == summary.tokens
    for name, weight in weights.items():
        entry = manifest.sparsity[f"{name}.weight"]
        assert entry["zeros"] == int((weight == 0).sum()) == round(entry["target"] * entry["size"])
    report = json.loads((out / ".stage" / REPORT_NAME).read_text(encoding="utf-8"))
    assert {row["name"] for row in report["linears"]} == set(weights)
    assert steps[-1] == ("layers", 12, 12)


@pytest.mark.slow
def test_an_embedder_stays_one(embedder, texts, tmp_path):
    out = tmp_path / "out"
    dense, sentences = Engine.load(embedder, threads=1), ["the film was good", "a dull plot", "music and a fresh cast"]
    prune_in_one_shot(
        str(embedder), out, CalibrationTexts(str(texts)), QUICK.model_copy(update={"target_sparsity": 0.0})
    )
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        assert (out / name).read_bytes() == (embedder / name).read_bytes()
    vectors = Engine.load(out, threads=1).embed(sentences)
    torch.testing.assert_close(torch.tensor(vectors), torch.tensor(dense.embed(sentences)), rtol=1e-3, atol=1e-3)
    assert (
        max(
            batch["input_ids"].shape[1]
            for batch in calibration_batches(open_model(str(out)), CalibrationTexts(str(texts)))
        )
        <= 12
    )


def test_as_many_texts_as_asked_are_used(small_world, texts):
    batches = calibration_batches(
        open_model(str(small_world.model)), CalibrationTexts(str(texts), examples=7, batch_size=3)
    )
    assert [len(batch["input_ids"]) for batch in batches] == [3, 3, 1]


def test_pairs_are_read_from_two_columns(small_world, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("text,other\n" + "the film was good,a dull plot\n" * 5, encoding="utf-8")
    [batch] = calibration_batches(
        open_model(str(small_world.model)), CalibrationTexts(str(path), text_pair_column="other")
    )
    assert batch["input_ids"].shape == (5, 1 + 4 + 1 + 3 + 1)


@pytest.mark.parametrize("content", ["\n\n", "good\n\nbad\n"])
def test_texts_without_words_are_refused(content, small_world, tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("text\n" + content.replace("\n\n", "\n"), encoding="utf-8")
    with pytest.raises(DataError, match=r"empty\.csv"):
        prune_in_one_shot(str(small_world.model), tmp_path / "out", CalibrationTexts(str(path)), QUICK)
    assert not (tmp_path / "out").exists()


def test_nan_weights_are_refused_and_nothing_is_written(small_world, texts, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_world.model, broken)
    state = load_file(broken / "model.safetensors")
    name = next(key for key in state if key.endswith("layer.1.output.dense.weight"))
    state[name][0, 0] = float("nan")
    save_file(state, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"layer\.1\.output\.dense.*NaN"):
        prune_in_one_shot(str(broken), tmp_path / "out", CalibrationTexts(str(texts)), QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_in_use_and_an_int8_model_are_refused(finished_run, small_world, texts, tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="already exists and is not empty"):
        prune_in_one_shot(str(small_world.model), used, CalibrationTexts(str(texts)), QUICK)
    assert (used / "notes.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ConfigurationError, match="computes in int8"):
        prune_in_one_shot(str(finished_run / "quantize"), tmp_path / "out", CalibrationTexts(str(texts)), QUICK)


def test_modules_outside_the_folder_are_refused(embedder, texts, tmp_path):
    modules = json.loads((embedder / "modules.json").read_text(encoding="utf-8"))
    modules[1]["path"] = "../elsewhere"
    (embedder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"\.\./elsewhere"):
        prune_in_one_shot(str(embedder), tmp_path / "out", CalibrationTexts(str(texts)), QUICK)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_prints_its_table(cli, small_world, texts, tmp_path):
    outcome = cli("one-shot", small_world.model, tmp_path / "out", "--texts", texts, "--sparsity", 0.75)
    assert outcome.code == 0, outcome.err
    rows = [line for line in outcome.out.splitlines() if line.startswith("| bert.encoder.layer.")]
    assert len(rows) == 12
    assert "75.00 % zeros" in outcome.out.splitlines()[-1]
    again = cli("one-shot", small_world.model, tmp_path / "out", "--texts", texts)
    assert (again.code, "--overwrite" in again.err) == (2, True)


@pytest.mark.parametrize("sparsity", ["1.0", "-0.1", "nan"])
def test_a_sparsity_out_of_range_names_its_flag(sparsity, cli, small_world, texts, tmp_path):
    outcome = cli("one-shot", small_world.model, tmp_path / "out", "--texts", texts, f"--sparsity={sparsity}")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --sparsity: ")
    assert not (tmp_path / "out").exists()

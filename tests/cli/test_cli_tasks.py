"""Tasks, seeds, dry runs and comparisons as a user calls them."""

import json
import re

import pytest

from pruneofa.recipe.files import shipped_recipes
from pruneofa.recipe.published import published_rows


@pytest.mark.slow
def test_two_seeds_are_one_command_with_mean_and_spread(cli, small_world, finished_run, tmp_path):
    pair = json.dumps({"name_or_path": str(finished_run / "teach"), "sparse_name_or_path": str(finished_run / "prune")})
    flags = ("--set", f"model={pair}", "--set", "quantize=null", "--set", "finetune.training.max_steps=4")
    outcome = cli("run", small_world.recipe, "--output_dir", tmp_path / "run", "--seeds", "0, 4", *flags)
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "run" / "seeds.json").read_text())
    assert (summary["recipe"], summary["seeds"]) == ("small", [0, 4])
    for seed in (0, 4):
        metrics = json.loads((tmp_path / "run" / f"seed-{seed}" / "evaluate" / "metrics.json").read_text())["models"]
        for name in ("dense", "sparse"):
            assert metrics[name]["accuracy"] in summary["models"][name]["accuracy"]["values"]
        assert (tmp_path / "run" / f"seed-{seed}" / "model.pofa").exists()
    assert re.search(r"^\| sparse +\| +\d+\.\d\d ± \d+\.\d\d \|$", outcome.out, re.MULTILINE)
    again = cli("run", small_world.recipe, "--output_dir", tmp_path / "run", "--seeds", "0,4", *flags)
    assert again.code == 0 and again.err.count("transfer: unchanged, skipped") == 2


@pytest.mark.parametrize("seeds", ["", "a", "0,0", "-1", "1.5", str(2**32)])
def test_seeds_that_are_none(cli, small_world, tmp_path, seeds):
    outcome = cli("run", small_world.recipe, "--output_dir", tmp_path / "run", "--seeds", seeds)
    assert outcome.code == 2 and "--seeds: is" in outcome.err and "whole numbers" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_pretraining_is_shared_and_never_replaced_unasked(cli, small_world, finished_run, tmp_path):
    short = [word for stage in ("finetune", "transfer") for word in ("--set", f"{stage}.training.max_steps=2")]
    command = ("run", small_world.recipe, "--pretraining_dir", finished_run, "--set", "quantize=null", *short)
    outcome = cli(*command, "--output_dir", tmp_path / "task")
    assert outcome.code == 0, outcome.err
    for stage in ("corpus", "teach", "prune"):
        assert f"{stage}: unchanged, skipped" in outcome.err
        assert not (tmp_path / "task" / stage).exists()
    refused = cli(*command, "--output_dir", tmp_path / "other", "--set", "prune.sparsity.target_sparsity=0.5")
    assert refused.code == 2
    assert "holds another run of prune (different: prune.sparsity.target_sparsity)" in refused.err


def test_a_dry_run_needs_neither_weights_nor_data(cli, tmp_path):
    outcome = cli("run", "bert-base-85-int8-squad", "--dry_run", "--output_dir", tmp_path / "run")
    assert (outcome.code, outcome.err) == (0, "")
    for words in (
        "84,934,656 in 72 tensors",
        "80.84/88.24 (paper)",
        "| 50,000 ",
        "quantize: ",
        "masks selected 81 times",
    ):
        assert words in outcome.out
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_is_held_out_of_a_single_file(cli, small_world, tmp_path):
    task = json.dumps({"task_name": "mine", "train": "mine.csv", "evaluation_fraction": 0.3})
    outcome = cli(
        "run", small_world.recipe, "--dry_run", "--output_dir", tmp_path / "run", "--set", "task=null",
        "--set", f"task={task}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "mine.csv, of which 30 % are held out to report on" in outcome.out


def test_recipes_lists_every_row_of_the_paper_with_its_figures(cli):
    listed = {line.split()[0]: line for line in cli("recipes").out.splitlines()}
    assert list(listed) == list(shipped_recipes())
    for row in published_rows():
        assert listed[row.recipe].endswith(f"paper: {row.text}")
    printed = cli("recipes", "distilbert-85-int8-qqp").out
    assert "extends: distilbert-85-int8" in printed and "learning_rate: 1.0e-06" in printed


def test_two_evaluations_are_compared(cli, finished_run, small_world, tmp_path):
    for name in ("finetune", "transfer"):
        evaluated = cli(
            "evaluate", finished_run / name, "--validation_file", small_world.evaluation, "--max_length", 16,
            "--output_dir", tmp_path / name,
        )  # fmt: skip
        assert evaluated.code == 0, evaluated.err
    both = ("evaluate", "--compare", tmp_path / "finetune", tmp_path / "transfer")
    outcome = cli(*both, "--output_dir", tmp_path / "comparison")
    assert outcome.code == 0, outcome.err
    assert re.search(r"accuracy: 0\.\d+ -> 0\.\d+, difference [+-]0\.\d+, 95 % interval", outcome.out)
    document = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert document["splits"] == json.loads(cli(*both, "--json").out)["splits"]
    (split,) = document["splits"]
    assert outcome.out.count("right '") == min(10, len(split["disagreements"]))
    wrong = cli("evaluate", finished_run / "transfer", "--compare", "a", "b")
    assert wrong.code == 2 and "--compare: names both models itself" in wrong.err
    assert cli("evaluate", "--compare", "a", "b").code == 1
    for arguments, text in (((), "MODEL: name the model"), ((finished_run / "transfer",), "--output_dir: name the fo")):
        missing = cli("evaluate", *arguments)
        assert missing.code == 2 and text in missing.err


def test_a_public_tasks_folder_is_all_that_is_given(cli, small_world, tmp_path):
    (tmp_path / "SST-2").mkdir()
    for name, rows in (("train", 12), ("dev", 4)):
        lines = [f"the film was {'great' if i % 2 else 'dull'}\t{i % 2}" for i in range(rows)]
        (tmp_path / "SST-2" / f"{name}.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    task = ("--task_name", "sst2", "--data_dir", tmp_path, "--max_length", 16)
    trained = cli(
        "finetune", "--model_name_or_path", small_world.model, *task, "--max_steps", 2, "--output_dir", tmp_path / "m"
    )
    assert trained.code == 0, trained.err
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    outcome = cli("evaluate", tmp_path / "m", *task, "--output_dir", tmp_path / "e", "--json")
    assert outcome.code == 0, outcome.err
    assert set(json.loads(outcome.out)) == {"accuracy"}
    lost = cli(
        "evaluate", tmp_path / "m", "--task_name", "sst2", "--data_dir", tmp_path / "e", "--output_dir", tmp_path / "f"
    )
    assert lost.code == 1 and "hold the files of sst2: train.tsv and dev.tsv" in lost.err

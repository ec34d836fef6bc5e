"""Whole runs of a small model: what they leave, what a second one skips, what an interrupted one continues."""

import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.errors import CheckpointError, ConfigurationError, DataError
from pruneofa.recipe.files import load_recipe, save_recipe
from pruneofa.training.trainer.sparse_trainer import SparseTrainer
from pruneofa.workflow.pipeline import run_pipeline
from pruneofa.workflow.record import read_record
from pruneofa.workflow.stage_list import STEPS

_LEFT_OUT = {"one_shot", "prune_embedder", "bench"}  # which the small recipe has not
NAMES = [step.stage.name for step in STEPS if step.stage.name not in _LEFT_OUT]


def recipe_of(world, *overrides):
    return load_recipe(str(world.recipe), overrides)


def run_and_tell(recipe, folder, caplog):
    """Stage -> what the run says of it: ran, skipped, continued or changed."""
    caplog.clear()
    with caplog.at_level("INFO", logger="pruneofa"):
        run_pipeline(recipe, folder)
    words = {"running": "ran", "unchanged, skipped": "skipped", "was interrupted, continuing": "continued"}
    told = {}
    for message in caplog.messages:
        stage, _, text = message.partition(": ")
        if stage in NAMES and text in words:
            told[stage] = words[text]
    return told


def without_clock(folder):
    """Weights and figures of every stage, without times."""
    found = {}
    for name in NAMES:
        weights = folder / name / "model.safetensors"
        if weights.exists():
            found[name] = weights.read_bytes()
    for path in sorted((folder / "evaluate").glob("*.json")):
        found[path.name] = path.read_bytes()
    return found


def test_a_run_leaves_model_report_recipe_and_card(finished_run, small_world):
    there = {path.name for path in finished_run.iterdir()}
    assert there == {*NAMES, "model.pofa", "report.html", "report.json", "recipe.yaml", "README.md"}
    assert load_recipe(str(finished_run / "recipe.yaml")) == recipe_of(small_world)
    assert (finished_run / "model.pofa").read_bytes() == (finished_run / "compress" / "int8_model.pofa").read_bytes()
    for name in NAMES:
        record = read_record(finished_run / name)
        assert record is not None and record.finished
        assert not (finished_run / name / ".stage" / "checkpoints").exists()


def test_the_report_says_what_was_measured(finished_run):
    report = json.loads((finished_run / "report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in report["rows"]] == ["dense", "sparse", "sparse int8"]
    measured = json.loads((finished_run / "evaluate" / "metrics.json").read_text(encoding="utf-8"))["models"]
    for row in report["rows"]:
        assert row["metrics"] == measured[row["name"]]
    dense, sparse, int8 = report["rows"]
    assert dense["encoder_sparsity"] == 0.0
    assert sparse["encoder_sparsity"] == int8["encoder_sparsity"] == pytest.approx(0.85, abs=1e-3)
    assert sparse["bytes_total"] == (finished_run / "compress" / "task_model.pofa").stat().st_size
    assert int8["bytes_total"] == (finished_run / "model.pofa").stat().st_size
    assert {curve["stage"] for curve in report["curves"]} == {"teach", "prune", "finetune", "transfer", "quantize"}
    assert [(stage["name"], stage["status"]) for stage in report["stages"]] == [(name, "finished") for name in NAMES]
    assert len(report["tensors"]) == 13
    page = (finished_run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_zeros_stay_zeros_from_pruning_to_int8(finished_run):
    pruned = encoder_linears(AutoModelForMaskedLM.from_pretrained(finished_run / "prune"))
    for stage in ("transfer", "quantize"):
        model = AutoModelForSequenceClassification.from_pretrained(finished_run / stage)
        for name, linear in encoder_linears(model).items():
            weight, mask = linear.weight, pruned[name].weight != 0
            assert int((~mask).sum()) == int(0.85 * mask.numel())
            assert not weight[~mask].any()
            assert not torch.signbit(weight[~mask]).any()


def test_a_second_run_skips_every_stage_and_says_so(run_copy, small_world, caplog):
    before = without_clock(run_copy)
    assert run_and_tell(recipe_of(small_world), run_copy, caplog) == dict.fromkeys(NAMES, "skipped")
    assert without_clock(run_copy) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "reruns"),
    [
        ("quantize.training.learning_rate=1e-4", ["quantize", "evaluate", "compress"]),
        ("transfer.training.max_steps=3", ["transfer", "quantize", "evaluate", "compress"]),
        ("prune.sparsity.target_sparsity=0.5", ["prune", "transfer", "quantize", "evaluate", "compress"]),
        ("finetune.training.max_steps=3", ["finetune", "transfer", "quantize", "evaluate", "compress"]),
        ("task.metric=f1", ["finetune", "transfer", "quantize", "evaluate", "compress"]),
        ("teach.training.save_total_limit=1", [name for name in NAMES if name != "corpus"]),
        ("seed=1", NAMES),
    ],
)
def test_a_changed_key_runs_what_depends_on_it(run_copy, small_world, caplog, monkeypatch, override, reruns):
    from pruneofa.workflow import pipeline

    told = {}

    def record_only(stage, recipe, inputs, folder, *, replace_stale):
        """Find out what would run, and leave a finished record as if it had."""
        from pruneofa.workflow import execution

        pretended = execution.Stage(stage.name, stage.sections, stage.inputs, lambda *_: told.update({stage.name: 1}))
        return execution.execute(pretended, recipe, inputs, folder, replace_stale=replace_stale)

    monkeypatch.setattr(pipeline, "execute", record_only)
    monkeypatch.setattr(pipeline.report, "write_report", lambda folder: None)
    run_pipeline(recipe_of(small_world, override), run_copy)
    assert list(told) == reruns


@pytest.mark.slow
def test_changed_data_is_noticed_though_its_path_is_the_same(small_world, finished_run, tmp_path, caplog):
    data = tmp_path / "dev.csv"
    shutil.copy(small_world.evaluation, data)
    recipe = recipe_of(
        small_world,
        f"task.evaluation={data}",
        *(f"{stage}=null" for stage in ("corpus", "teach", "prune", "transfer", "quantize")),
        "finetune.training.max_steps=1",
    )
    folder = tmp_path / "run"
    assert run_and_tell(recipe, folder, caplog) == dict.fromkeys(("finetune", "evaluate", "compress"), "ran")
    data.touch()  # the time alone is no change
    assert run_and_tell(recipe, folder, caplog) == dict.fromkeys(("finetune", "evaluate", "compress"), "skipped")
    data.write_text(data.read_text().replace("great", "good"))
    assert run_and_tell(recipe, folder, caplog)["finetune"] == "ran"
    assert "finetune: changed (files.task.evaluation), starting anew" in caplog.text


class PowerCutError(Exception):
    """What the test breaks a stage off with."""


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("prune", 5), ("quantize", 3)])
def test_an_interrupted_stage_continues_and_ends_the_same(
    finished_run, run_copy, small_world, caplog, monkeypatch, stage, step
):
    for name in NAMES[NAMES.index(stage) :]:
        shutil.rmtree(run_copy / name)
    compute_loss = SparseTrainer.compute_loss

    def breaking(self, *args, **kwargs):
        if self.pruner is not None and self.state.global_step == step and self.model.training:
            raise PowerCutError
        return compute_loss(self, *args, **kwargs)

    if stage == "quantize":
        # The transfer before it is skipped, so the first locked training is this one.
        assert read_record(run_copy / "transfer") is not None
    with monkeypatch.context() as patched:
        patched.setattr(SparseTrainer, "compute_loss", breaking)
        with pytest.raises(PowerCutError):
            run_pipeline(recipe_of(small_world), run_copy)
    record = read_record(run_copy / stage)
    assert record is not None and not record.finished
    told = run_and_tell(recipe_of(small_world), run_copy, caplog)
    position = NAMES.index(stage)
    expected = ["skipped"] * position + ["continued"] + ["ran"] * (len(NAMES) - position - 1)
    assert told == dict(zip(NAMES, expected, strict=True))
    assert f"{stage}: continuing at step {step - step % 2} of" in caplog.text
    assert without_clock(run_copy) == without_clock(finished_run)


@pytest.mark.slow
def test_a_stage_that_the_recipe_no_longer_asks_for_is_not_reported(run_copy, small_world):
    data = run_pipeline(recipe_of(small_world, "quantize=null"), run_copy)
    assert [row.name for row in data.rows] == ["dense", "sparse"]
    assert "quantize" not in [stage.name for stage in data.stages]
    assert "quantize" not in [curve.stage for curve in data.curves]
    assert (run_copy / "model.pofa").read_bytes() == (run_copy / "compress" / "task_model.pofa").read_bytes()


@pytest.mark.slow
def test_pretraining_alone_leaves_a_sparse_model_and_a_report(small_world, tmp_path):
    recipe = recipe_of(small_world, *(f"{name}=null" for name in ("task", "finetune", "transfer", "quantize")))
    data = run_pipeline(recipe, tmp_path / "run")
    assert data.rows == []
    assert [stage.name for stage in data.stages] == ["corpus", "teach", "prune"]
    assert not (tmp_path / "run" / "model.pofa").exists()
    assert (tmp_path / "run" / "report.html").exists()


def test_a_folder_of_something_else_is_left_alone(small_world, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigurationError, match=r"holds files but no recipe\.yaml"):
        run_pipeline(recipe_of(small_world), tmp_path, overwrite=True)
    with pytest.raises(ConfigurationError, match="is a file; give a folder"):
        run_pipeline(recipe_of(small_world), tmp_path / "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_another_recipes_run_is_replaced_only_when_asked(run_copy, small_world):
    (run_copy / "notes.txt").write_text("mine")
    recipe = recipe_of(
        small_world,
        "name=other",
        *(f"{name}=null" for name in ("teach", "prune", "task", "finetune", "transfer", "quantize")),
    )
    before = without_clock(run_copy)
    with pytest.raises(ConfigurationError, match=r"holds another run, of the recipe 'small'.*--overwrite_output_dir"):
        run_pipeline(recipe, run_copy)
    assert without_clock(run_copy) == before
    run_pipeline(recipe, run_copy, overwrite=True)
    there = {path.name for path in run_copy.iterdir()}
    assert there == {"notes.txt", "corpus", "recipe.yaml", "report.html", "report.json"}


def test_a_users_own_recipe_in_the_folder_keeps_its_comments(small_world, tmp_path):
    only_corpus = [f"{name}=null" for name in ("teach", "prune", "task", "finetune", "transfer", "quantize")]
    path = tmp_path / "recipe.yaml"
    save_recipe(recipe_of(small_world, *only_corpus), path)
    path.write_text("# my notes\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    run_pipeline(load_recipe(str(path)), tmp_path)
    assert path.read_text(encoding="utf-8").startswith("# my notes\n")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["corpus=null"], ConfigurationError, "teach: needs the section corpus"),
        (["task=null"], ConfigurationError, "finetune: needs the section task"),
        (["finetune=null"], ConfigurationError, "transfer.distillation: is on, but without the section finetune"),
        (["transfer=null"], ConfigurationError, "quantize: needs the section transfer"),
        (["prune=null"], ConfigurationError, "transfer: has no sparse model"),
        (["teach.training.lr_scheduler_type=rewinding"], ConfigurationError, "nothing is pruned in this stage"),
        (
            ["prune.sparsity.freeze_step=9"],
            ConfigurationError,
            "freeze_step is 9, .* but prune.training.max_steps is 8",
        ),
        (["prune.sparsity.targets=['*.quary']"], ConfigurationError, "prune.sparsity.targets: pattern '\\*.quary'"),
        (["transfer.sparsity={end_step: 2, targets: [x]}"], ConfigurationError, "transfer.sparsity.targets: pattern"),
        (["corpus.max_length=33"], DataError, "corpus.max_length is 33, but the model takes at most 32 tokens"),
        (["task.max_length=64"], DataError, "task.max_length is 64, but the model takes at most 32 tokens"),
        (["task.text_column=txt"], DataError, "task.train: .*no column 'txt'.*did you mean 'text'"),
        (["task.evaluation=nowhere.csv"], DataError, "task.evaluation: no file or folder 'nowhere.csv'"),
        (["corpus.source=nowhere.txt"], DataError, "corpus.source: no file or folder 'nowhere.txt'"),
        (["model.name_or_path=./nowhere"], CheckpointError, "no model folder at ./nowhere"),
    ],
)
def test_what_can_be_known_before_is_told_before_and_leaves_nothing(small_world, tmp_path, overrides, error, message):
    with pytest.raises(error, match=message):
        run_pipeline(recipe_of(small_world, *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_faults_of_model_data_and_settings_are_told_together(small_world, tmp_path):
    recipe = recipe_of(small_world, "finetune=null", "task.max_length=64", "corpus.source=nowhere.txt")
    with pytest.raises(ConfigurationError) as caught:
        run_pipeline(recipe, tmp_path / "run")
    lines = str(caught.value).splitlines()
    assert lines[0] == "recipe small: 4 faults"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "transfer.distillation",
        "quantize.distillation",
        "task.max_length is 64, but the model takes at most 32 tokens; set max_length to 32 or less",
        "corpus.source",
    ]

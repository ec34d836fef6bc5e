"""Tasks of every kind through the stages: question answering, regression, several splits, several seeds."""

import json
import random
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.data.metrics.predictions import compare
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.errors import CheckpointError, ConfigurationError, DataError
from pruneofa.recipe.files import load_recipe
from pruneofa.stage_folder import load_log
from pruneofa.stages.evaluate import evaluate_into, evaluate_model
from pruneofa.training.tasks import load_task_model
from pruneofa.training.teacher_logits import stored_logits
from pruneofa.workflow.execution import execute
from pruneofa.workflow.pipeline import run_pipeline
from pruneofa.workflow.record import read_record
from pruneofa.workflow.stage_list import STAGES

NOUNS = ("film", "plot", "cast", "scene", "story", "music")
LONG = [f"{stage}.training.max_steps=40" for stage in ("finetune", "transfer")]


def squad_file(path, count, seed, unanswerable=False):
    """What was good? in contexts of which a part is longer than a window."""
    chooser = random.Random(seed)
    paragraphs = []
    for number in range(count):
        noun = chooser.choice(NOUNS)
        filler = " ".join(["the story is very dull"] * chooser.choice((0, 1, 5)))
        context = f"{filler} the {noun} was great".strip()
        place = context.rindex(noun)
        answers = [] if unanswerable and number % 3 == 0 else [{"text": noun, "answer_start": place}]
        question = {"id": f"{seed}-{number}", "question": "this one is great", "answers": answers}
        paragraphs.append({"context": context, "qas": [question | {"is_impossible": not answers}]})
    articles = [{"title": f"{seed}-{i}", "paragraphs": [paragraph]} for i, paragraph in enumerate(paragraphs)]
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    return str(path)


def pretrained(run):
    """The override that takes the pre-trained pair of a run."""
    pair = {"name_or_path": str(run / "teach"), "sparse_name_or_path": str(run / "prune")}
    return f"model={json.dumps(pair)}"


@pytest.fixture(scope="module")
def questions(small_world, finished_run, tmp_path_factory):
    """A run of the small recipe on questions, from the pre-trained pair of the finished one."""
    folder = tmp_path_factory.mktemp("questions")
    task = {
        "task_name": "squad",
        "train": squad_file(folder / "train.json", 48, 1),
        "evaluation": squad_file(folder / "dev.json", 12, 2),
        "validation_fraction": 0.2,
        "max_length": 24,
        "question_answering": {"stride": 8, "max_question_length": 6, "unanswerable": False},
    }
    recipe = load_recipe(
        str(small_world.recipe),
        [
            pretrained(finished_run),
            "task=null",
            f"task={json.dumps(task)}",
            *LONG,
        ],
    )  # fmt: skip
    run_pipeline(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.mark.slow
def test_questions_go_all_the_way(questions):
    recipe, run = questions
    assert recipe.corpus is recipe.teach is recipe.prune is None
    report = json.loads((run / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["dense", "sparse", "sparse int8"]
    for row in report["rows"]:
        assert set(row["metrics"]) == {"exact_match", "f1"}
        assert 0 <= row["metrics"]["exact_match"] <= row["metrics"]["f1"] <= 1
    assert "pipeline_tag: question-answering" in (run / "README.md").read_text()
    assert "AutoModelForQuestionAnswering" in (run / "README.md").read_text()
    dense = AutoModelForQuestionAnswering.from_pretrained(run / "finetune")
    sparse = AutoModelForQuestionAnswering.from_pretrained(run / "transfer")
    assert type(dense).__name__ == "BertForQuestionAnswering"
    for linear in encoder_linears(sparse).values():
        assert int((linear.weight == 0).sum()) >= int(0.85 * linear.weight.numel())
    # Whoever loads the model cuts texts where training did.
    lengths = {
        stage: json.loads((run / stage / "tokenizer_config.json").read_text())["model_max_length"]
        for stage in ("finetune", "transfer", "quantize")
    }
    assert lengths == {"finetune": 24, "transfer": 24, "quantize": 24}


@pytest.mark.slow
def test_answers_stand_in_their_context_and_score_as_reported(questions):
    _, run = questions
    document = json.loads((run / "evaluate" / "predictions-task_teacher.json").read_text())
    contexts = {
        question["id"]: paragraph["context"]
        for article in json.loads((run.parent / "dev.json").read_text())["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    assert len(document["examples"]) == len(contexts) == 12
    for entry in document["examples"]:
        start, text = entry["start"], entry["prediction"]
        assert text and contexts[entry["id"]][start : start + len(text)] == text
        assert entry["n_best"][0]["text"] == text
    assert document["metrics"]["f1"] == pytest.approx(np.mean([entry["f1"] for entry in document["examples"]]))


@pytest.mark.slow
def test_the_teachers_answers_are_computed_once_and_are_its_own(questions):
    recipe, run = questions
    _, teacher, data = load_task_model(str(run / "finetune"), recipe.task, head_is_trained=True)
    kept = stored_logits(run / "finetune", data.train)
    assert kept is not None and set(kept) == {"start_logits", "end_logits"}
    assert [len(row) for row in kept["start_logits"]] == data.train.lengths.tolist()
    assert max(data.train.lengths) == 24 and len(data.train) > len(data.train.questions)
    example = {name: torch.tensor([value]) for name, value in data.train[3].items()}
    with torch.no_grad():
        alone = teacher.eval()(**example)
    torch.testing.assert_close(
        torch.from_numpy(kept["end_logits"][3].copy())[None], alone.end_logits, rtol=0, atol=0.02
    )
    validation = read_record(run / "finetune").results["validation"]
    assert set(validation) == {"loss", "exact_match", "f1"}


@pytest.mark.slow
def test_evaluating_again_gives_the_same_files(questions, tmp_path):
    recipe, run = questions
    for name in ("a", "b"):
        evaluate_into(tmp_path / name, str(run / "model.pofa"), recipe.task)
    assert (tmp_path / "a" / "predictions.json").read_bytes() == (tmp_path / "b" / "predictions.json").read_bytes()
    (found,) = compare(str(run / "evaluate" / "predictions-task_teacher.json"), str(tmp_path / "a"), resamples=200)
    assert [metric.metric for metric in found.metrics] == ["exact_match", "f1"]
    assert sum(found.counts.values()) == found.examples == 12
    for entry in found.disagreements:
        assert entry["first"] != entry["second"] and entry["question"] == "this one is great"


@pytest.mark.slow
def test_the_engine_finds_the_answers_that_pytorch_finds(questions, tmp_path):
    recipe, run = questions
    found = evaluate_model(str(run / "model.pofa"), recipe.task, engine=True)
    expected = evaluate_model(str(run / "model.pofa"), recipe.task)
    assert found.metrics == expected.metrics
    answers = [
        [entry["prediction"] for entry in each.documents["evaluation"]["examples"]] for each in (found, expected)
    ]
    assert answers[0] == answers[1]
    with pytest.raises(ConfigurationError, match="is an ONNX file, which the engine does not run"):
        onnx_file = run / "finetune" / "model.onnx"
        evaluate_model(str(onnx_file), recipe.task, engine=True)


@pytest.mark.slow
def test_questions_without_an_answer(questions, tmp_path):
    _, run = questions
    source = squad_file(tmp_path / "dev.json", 9, 3, unanswerable=True)
    settings = {"stride": 8, "max_question_length": 6, "null_threshold": -1000.0}
    task = TaskConfig(task_name="squad_v2", train=source, evaluation=source, max_length=24, question_answering=settings)
    metrics = evaluate_model(str(run / "finetune"), task).metrics
    assert metrics["no_answer_f1"] == 1.0 and metrics["has_answer_f1"] == 0.0  # so low a threshold silences it
    assert metrics["exact_match"] == pytest.approx(3 / 9)


@pytest.mark.slow
def test_a_model_of_another_kind_is_refused(questions, finished_run, small_world):
    recipe, run = questions
    own = TaskConfig(
        train=str(small_world.train), evaluation=str(small_world.evaluation), kind="classification", max_length=16
    )
    with pytest.raises(DataError, match="was trained for question_answering, but the task 'classification' is class"):
        evaluate_model(str(run / "finetune"), own)
    with pytest.raises(DataError, match="was trained for classification, but the task 'squad' is question_answering"):
        evaluate_model(str(finished_run / "finetune"), recipe.task)
    with pytest.raises(CheckpointError, match="has no trained BertForQuestionAnswering head"):
        evaluate_model(str(finished_run / "prune"), recipe.task)
    recipe = recipe.model_copy(update={"task": own})
    with pytest.raises(DataError, match="was trained for question_answering, the task is classification"):
        execute(
            STAGES["transfer"],
            recipe,
            {"sparse": str(finished_run / "prune"), "task_teacher": str(run / "finetune")},
            run.parent / "t",
        )


@pytest.fixture(scope="module")
def graded(small_world, finished_run, tmp_path_factory):
    """Numbers for texts, with a mismatched split, and two seeds for the teacher."""
    folder = tmp_path_factory.mktemp("graded")
    chooser = random.Random(0)
    for name, count in (("train", 48), ("dev", 12), ("other", 10)):
        lines = ["text,score"]
        for _ in range(count):
            word, value = chooser.choice([("great", 1.5), ("good", 1.0), ("bad", -1.0), ("dull", -1.5)])
            lines.append(f"the {chooser.choice(NOUNS)} was {word},{value + chooser.choice((0.0, 0.25))}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    task = {
        "task_name": "grades",
        "train": str(folder / "train.csv"),
        "evaluation": str(folder / "dev.csv"),
        "also_evaluate": {"other": str(folder / "other.csv")},
        "label_column": "score",
        "max_length": 16,
        "validation_fraction": 0.25,
    }
    recipe = load_recipe(
        str(small_world.recipe),
        [
            pretrained(finished_run),
            "task=null",
            f"task={json.dumps(task)}",
            "finetune.seeds=[3, 1]",
            "finetune.training.eval_steps=10",
            *LONG,
        ],
    )  # fmt: skip
    run_pipeline(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.mark.slow
def test_a_regression_goes_all_the_way(graded):
    _, run = graded
    metrics = json.loads((run / "evaluate" / "metrics.json").read_text())["models"]
    for found in metrics.values():
        assert set(found) == {f"{m}{s}" for m in ("pearson", "spearman", "mse") for s in ("", "_other")}
    assert metrics["dense"]["pearson"] > 0.5  # it has learned something, so the labels arrive as numbers
    model = AutoModelForSequenceClassification.from_pretrained(run / "quantize")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    assert (run / "evaluate" / "predictions-int8_model-other.json").exists()
    compared = compare(
        str(run / "evaluate" / "predictions-task_teacher.json"), str(run / "evaluate" / "predictions-int8_model.json"),
        resamples=100,
    )  # fmt: skip
    assert [metric.metric for metric in compared[0].metrics] == ["pearson", "spearman", "mse"]
    assert compared[0].counts == {} and compared[0].disagreements


@pytest.mark.slow
def test_the_teacher_is_the_best_seed_on_what_is_held_out(graded):
    _, run = graded
    results = read_record(run / "finetune").results
    assert set(results["seeds"]) == {"1", "3"}
    assert (
        results["seeds"][str(results["chosen_seed"])]
        == max(results["seeds"].values())
        == results["validation"]["pearson"]
    )
    assert results["validation_mean"] == pytest.approx(np.mean(list(results["seeds"].values())))
    log = [entry for entry in load_log(run / "finetune") if "eval_pearson" in entry]
    assert [entry["step"] for entry in log] == [10, 20, 30, 40]
    assert not (run / "finetune" / ".stage" / "checkpoints").exists()


@pytest.mark.slow
def test_seeds_go_on_where_they_were_broken_off(graded, tmp_path, monkeypatch, caplog):
    from pruneofa.stages import finetune

    recipe, run = graded
    train, calls = finetune._train, []

    def breaking(*arguments):
        calls.append(arguments[1].seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments)

    inputs = {"dense": recipe.model.name_or_path}
    with monkeypatch.context() as patched:
        patched.setattr(finetune, "_train", breaking)
        with pytest.raises(KeyboardInterrupt):
            execute(STAGES["finetune"], recipe, inputs, tmp_path / "f")
    caplog.set_level("INFO", logger="pruneofa")
    execute(STAGES["finetune"], recipe, inputs, tmp_path / "f")
    assert calls == [3, 1]
    assert "finetune: seed 3: done before" in caplog.messages
    assert (tmp_path / "f" / "model.safetensors").read_bytes() == (run / "finetune" / "model.safetensors").read_bytes()


def test_without_the_lock_zeros_vanish_and_are_counted(small_world, finished_run, tmp_path):
    recipe = load_recipe(str(small_world.recipe), ["transfer.lock=false", "transfer.training.max_steps=6"])
    inputs = {"sparse": str(finished_run / "prune"), "task_teacher": str(finished_run / "finetune")}
    record = execute(STAGES["transfer"], recipe, inputs, tmp_path / "t")
    shares = [entry["sparsity/actual"] for entry in load_log(tmp_path / "t") if "sparsity/actual" in entry]
    assert record.results["sparsity"] == shares[-1] < 0.5
    assert shares == sorted(shares, reverse=True)
    with pytest.raises(ConfigurationError, match="no Linear layer of the encoder has a zero weight to count"):
        execute(STAGES["transfer"], recipe, {**inputs, "sparse": str(small_world.model)}, tmp_path / "u")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["finetune.seeds=[0, 1]"], "finetune.seeds is \\[0, 1\\], but no part of the training data is held out"),
        (["transfer.training.eval_steps=2"], "transfer.training.eval_steps is 2, but no part of the training data is"),
        (["finetune.seeds=[1, 1]"], "finetune.seeds: is \\[1, 1\\]; allowed: different whole numbers"),
        (["model.architecture={model_type: bert, hidden_size: 64}"], "architecture.hidden_size: is 64, but .* has 32"),
        (["task.metric=pearson"], "task.metric is 'pearson', but the task is classification"),
    ],
)
def test_what_needs_a_held_out_part_is_told_before_anything_runs(small_world, tmp_path, overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        run_pipeline(load_recipe(str(small_world.recipe), overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_faulty_file_of_predictions_is_one_clear_error(finished_run, tmp_path):
    good = json.loads((finished_run / "evaluate" / "predictions-task_teacher.json").read_text())
    path = tmp_path / "p.json"
    for text, message in (
        ("{", "no file of predictions that `pruneofa evaluate` wrote"),
        ("[]", "no file of predictions"),
        (json.dumps(good | {"format_version": 9}), "no file of predictions .*version 9"),
        (json.dumps(good | {"label_names": None}), "no label_names"),
        (json.dumps(good | {"examples": [1]}), "an example has no prediction"),
        (json.dumps(good | {"examples": good["examples"][:3]}), "16 examples, .* 3; evaluate both on the same"),
        (json.dumps(good | {"task": "other"}), "has the task 'mood', .* 'other'; both must be of one task"),
        (json.dumps(good | {"split": "other"}), "none is in both"),
        (json.dumps(good | {"label_names": ["x", "y"]}), "have different labels"),
        (json.dumps(good | {"examples": [e | {"prediction": "?"} for e in good["examples"]]}), "without what a class"),
        (json.dumps(good | {"examples": [e | {"text": "?"} for e in good["examples"]]}), "example 0 of .* differ"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            compare(str(finished_run / "evaluate" / "predictions-task_teacher.json"), str(path), resamples=10)
    with pytest.raises(DataError, match="holds predictions of several models; name one of its files"):
        compare(str(finished_run / "evaluate"), str(path))
    with pytest.raises(DataError, match=r"holds no predictions\.json"):
        (tmp_path / "empty").mkdir()
        compare(str(tmp_path / "empty"), str(path))


@pytest.mark.parametrize("stage", ["finetune", "teach"])
def test_a_sparse_model_is_not_made_dense_unless_asked(stage, finished_run, small_world, tmp_path, cli):
    data = (
        ("--train_file", small_world.train, "--validation_file", small_world.evaluation, "--max_length", 16)
        if stage == "finetune"
        else ("--corpus_dir", finished_run / "corpus")
    )
    common = (stage, "--model_name_or_path", finished_run / "prune", *data, "--max_steps", 2)
    refused = cli(*common, "--output_dir", tmp_path / "refused")
    assert refused.code == 2
    assert f"is sparse (85.0 % zeros in the encoder), and {stage} would train its zeros away" in refused.err
    assert ("use transfer" if stage == "finetune" else "use prune") in refused.err
    unlocked = cli(*common, "--output_dir", tmp_path / "unlocked", "--unlock")
    assert unlocked.code == 0, unlocked.err
    assert inspect_model(tmp_path / "unlocked").as_dict()["encoder_sparsity"] < 0.85


def test_pruning_that_ends_after_the_run_names_the_keys_to_set(finished_run, small_world, tmp_path, cli):
    outcome = cli(
        *("prune", "--model_name_or_path", small_world.model, "--corpus_dir", finished_run / "corpus"),
        *("--max_steps", 20, "--output_dir", tmp_path / "out", "--set", "prune.distillation=null"),
    )
    assert outcome.code == 2
    assert "prune.sparsity.end_step is 50000" in outcome.err
    remedy = re.findall(r"--set (\S+=[^\s)]+)", outcome.err)
    assert remedy == ["prune.sparsity.end_step=10", "prune.sparsity.update_every=1"]
    outcome = cli(
        *("prune", "--model_name_or_path", small_world.model, "--corpus_dir", finished_run / "corpus"),
        *("--max_steps", 20, "--output_dir", tmp_path / "out", "--set", "prune.distillation=null"),
        *(word for setting in remedy for word in ("--set", setting)),
    )
    assert outcome.code == 0, outcome.err
    assert inspect_model(tmp_path / "out").as_dict()["encoder_sparsity"] == pytest.approx(0.9, abs=0.001)

"""A model's head on a task: kept with its rows in the task's order, replaced and told, or refused."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from pruneofa.data.metrics.predictions import compare
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, DataError
from pruneofa.models.task_heads import load_for_task, load_trained_on_task
from pruneofa.stages.evaluate import evaluate_model

SEQUENCES = AutoModelForSequenceClassification
MNLI = ["entailment", "neutral", "contradiction"]
BY_ALPHABET = ["contradiction", "entailment", "neutral"]


@pytest.fixture
def saved(small_world, tmp_path):
    """Save a random model with a head; `settings` are entries of its config."""

    def save(auto_class=AutoModelForSequenceClassification, names=(), model_type=None, **settings):
        torch.manual_seed(1)
        if names:
            settings |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        if model_type is None:
            model = auto_class.from_pretrained(small_world.model, **settings)
        else:
            size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
            model = auto_class.from_config(AutoConfig.for_model(model_type, vocab_size=40, **size, **settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.shape[:1] == (model.config.num_labels,):
                    parameter.normal_()
        model.save_pretrained(tmp_path / "saved")
        AutoTokenizer.from_pretrained(small_world.model).save_pretrained(tmp_path / "saved")
        return str(tmp_path / "saved")

    return save


def logits_of(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[2, 5, 9, 3], [2, 7, 11, 3]])).logits


@pytest.mark.parametrize("model_type", [None, "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("load", ["new", "trained"])
def test_rows_are_put_in_the_tasks_order_with_their_names(saved, caplog, model_type, load):
    sizes = {"dim": 32, "hidden_dim": 32, "n_heads": 2, "n_layers": 1} if model_type == "distilbert" else {}
    path = saved(names=BY_ALPHABET, model_type=model_type, **sizes)
    before = logits_of(AutoModelForSequenceClassification.from_pretrained(path))
    if load == "new":
        model = load_for_task(path, "classification", MNLI, new_head=False)
    else:
        model = load_trained_on_task("model 'm'", path, "classification", MNLI)
    assert torch.equal(logits_of(model), before[:, [1, 2, 0]])
    assert model.config.id2label == dict(enumerate(MNLI)) and model.config.label2id["neutral"] == 1
    assert "entailment, neutral, contradiction instead of contradiction, entailment, neutral" in caplog.text


def test_rows_that_nobody_named_are_taken_in_order_and_told(saved, caplog):
    path = saved(num_labels=3)
    before = logits_of(AutoModelForSequenceClassification.from_pretrained(path))
    model = load_for_task(path, "classification", MNLI, new_head=False)
    assert torch.equal(logits_of(model), before) and model.config.id2label == dict(enumerate(MNLI))
    assert "nobody named the rows of its head (LABEL_0, LABEL_1, LABEL_2)" in caplog.text


CLASSES, NUMBERS = ("classification", ["a", "b"]), ("regression", None)


@pytest.mark.parametrize(
    ("auto_class", "settings", "task", "what"),
    [
        (
            SEQUENCES,
            {"names": MNLI},
            CLASSES,
            "for 3 classes (entailment, neutral, contradiction), the task is 2 classes",
        ),
        (SEQUENCES, {"names": ["x", "y"]}, CLASSES, "for 2 classes (x, y), the task is 2 classes (a, b)"),
        (SEQUENCES, {"num_labels": 1}, CLASSES, "for regression"),
        (SEQUENCES, {"names": MNLI}, NUMBERS, "the task is regression"),
        (SEQUENCES, {"names": MNLI}, ("question_answering", None), "the task is question answering"),
        (AutoModelForTokenClassification, {"names": ["a", "b"]}, CLASSES, "token classification (2 classes)"),
        (AutoModelForQuestionAnswering, {}, CLASSES, "for question answering"),
        (AutoModelForMultipleChoice, {}, NUMBERS, "for what BertForMultipleChoice does"),
        (SEQUENCES, {"names": ["a", "b"], "problem_type": "multi_label_classification"}, CLASSES, "several labels"),
        (SEQUENCES, {"names": ["a", "b"], "problem_type": "regression"}, CLASSES, "for 2 numbers"),
    ],
)
def test_a_head_for_another_task_makes_way_or_is_refused(saved, caplog, auto_class, settings, task, what):
    kind, names = task
    path = saved(auto_class, **settings)
    with pytest.raises(DataError, match=r"its head is for .*, the task is .*transfer\.new_head"):
        load_for_task(path, kind, names, new_head=False)
    old = auto_class.from_pretrained(path).state_dict()
    model = load_for_task(path, kind, names)
    assert what in caplog.text and "a new head, at random, takes its place" in caplog.text
    for name, value in model.state_dict().items():
        if name.startswith("bert.") and name in old:
            assert torch.equal(value, old[name])
        elif name.endswith("weight") and name in old and old[name].shape == value.shape:
            assert not torch.equal(value, old[name])
    if kind != "question_answering":
        assert model.config.num_labels == (1 if names is None else len(names))
        assert model.config.problem_type == ("regression" if names is None else "single_label_classification")


def test_a_problem_type_left_over_is_set_to_the_task(small_world, tmp_path):
    config = json.loads((small_world.model / "config.json").read_text())
    for left in ("multi_label_classification", "regression"):
        folder = tmp_path / left
        folder.mkdir()
        for file in small_world.model.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "config.json").write_text(json.dumps(config | {"problem_type": left}))
        model = load_for_task(str(folder), "classification", ["a", "b"])
        batch = {"input_ids": torch.tensor([[2, 5, 3]]), "labels": torch.tensor([1])}
        output = model.eval()(**batch)
        torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, batch["labels"]))


def task_on(tmp_path, rows, **settings):
    path = tmp_path / "dev.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return TaskConfig(train=str(path), evaluation=str(path), max_length=16, **settings)


@pytest.mark.parametrize("engine", [False, True])
def test_evaluation_by_the_tasks_numbers_equals_transformers(saved, tmp_path, engine):
    path = saved(names=BY_ALPHABET)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    texts = [f"the {noun} was {word}" for noun in ("film", "plot", "cast") for word in ("good", "bad", "dull", "warm")]
    with torch.no_grad():
        found = [BY_ALPHABET[model(**tokenizer(text, return_tensors="pt")).logits.argmax()] for text in texts]
    for form in (str, float):
        task = task_on(tmp_path, [(text, form(MNLI.index(name))) for text, name in zip(texts, found, strict=True)])
        named = task.model_copy(update={"label_names": MNLI})
        evaluation = evaluate_model(path, named, engine=engine)
        assert evaluation.metrics == {"accuracy": 1.0}
        assert [row["label"] for row in evaluation.documents["evaluation"]["examples"]] == found
        with pytest.raises(DataError, match="nothing says which label it stands for"):
            evaluate_model(path, task, engine=engine)
    assert Engine.load(path).labels == tuple(BY_ALPHABET)


def test_rows_without_labels_are_predicted_and_left_out_of_the_metrics(saved, tmp_path, caplog):
    path = saved(names=["neg", "pos"])
    texts = ["the film was good", "the plot was bad", "the cast was dull"]
    first = evaluate_model(path, task_on(tmp_path, [(text, "") for text in texts]))
    predictions = [row["prediction"] for row in first.documents["evaluation"]["examples"]]
    assert first.metrics == {} and set(predictions) <= {"neg", "pos"}
    assert "all 3 rows have no label: predictions without metrics" in caplog.text
    labels = [predictions[0], "-1", ""]
    second = evaluate_model(path, task_on(tmp_path, list(zip(texts, labels, strict=True))))
    assert second.metrics == {"accuracy": 1.0} and second.documents["evaluation"]["unlabelled"] == 2
    assert "2 of 3 rows have no label: metrics are on the others" in caplog.text
    for name, evaluation, examples in (("none", first, 0), ("some", second, 1)):
        evaluation.write_predictions(tmp_path / f"{name}.json")
        (found,) = compare(str(tmp_path / f"{name}.json"), str(tmp_path / f"{name}.json"), resamples=10)
        assert found.examples == 3 and sum(found.counts.values()) == examples
        assert [metric.metric for metric in found.metrics] == ["accuracy"] * examples


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"id2label": {"0": "neg", "1": "neg"}}, CheckpointError, "gives the rows 0 and 1 of the head one name, 'neg'"),
        ({"id2label": {"0": "neg", "2": "pos"}}, CheckpointError, "id2label has no name for row 1"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, CheckpointError, "classifier.*shape.*id2label|names row '2'"),
        ({"problem_type": "multi_label_classification"}, CheckpointError, "several labels for one text"),
        ({}, DataError, r"labels neg, pos \(id2label.*has negative, positive.*'\[NAME_OF_negative, NAME"),
    ],
)
def test_a_model_whose_labels_leave_a_doubt_is_not_evaluated(saved, tmp_path, change, error, message):
    path = saved(names=["neg", "pos"])
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config | change))
    task = task_on(tmp_path, [("the film", 0), ("the plot", 1)], label_names=["negative", "positive"])
    for engine in (False, True):
        with pytest.raises(error, match=message):
            evaluate_model(path, task, engine=engine)


def test_the_engine_refuses_names_that_leave_a_doubt(saved, tmp_path):
    path = saved(names=["neg", "pos"])
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    for names, message in (
        ({"0": "x", "1": "x"}, "one name, 'x'"),
        ({"0": "x"}, "no name for row 1"),
        ({"0": "x", "1": "y", "2": "z"}, "names row '2', but the head has 2 rows"),
    ):
        (tmp_path / "saved" / "config.json").write_text(json.dumps(config | {"id2label": names}))
        with pytest.raises(CheckpointError, match=f"saved: config.json: .*{message}"):
            Engine.load(path)

"""What a label in a file means: forms of one label, numbers and names, the order of a task and of a model."""

import json
import math
from decimal import Decimal

import pytest

from pruneofa.data.tasks.checks import check_sources
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import LabelSet, label_text, matching_rows, ordered_labels
from pruneofa.data.tasks.loading import load_evaluations, load_task
from pruneofa.errors import DataError

MNLI = ["entailment", "neutral", "contradiction"]
BY_ALPHABET = ["contradiction", "entailment", "neutral"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1, 1.0, "1", " 1.0 ", "1.", "+1", Decimal("1.00")), "1"),
        ((0, 0.0, "-0", "0.000"), "0"),
        ((-1, -1.0, "-1.0"), "-1"),
        ((True, "true", "TRUE", "True"), "True"),
        ((1.5, "1.5", Decimal("1.5")), "1.5"),
        (("007",), "007"),
        ((" fresh ",), "fresh"),
        (("caf\u00e9", "cafe\u0301 "), "caf\u00e9"),
        ((None, "", "  ", math.nan, Decimal("NaN")), None),
        ((10**30,), str(10**30)),
        ((1e300,), "1e+300"),
        ((float("inf"),), "inf"),
    ],
)
def test_one_label_is_one_text_in_every_format(values, text):
    assert {label_text(value) for value in values} == {text}


@pytest.mark.parametrize("value", [["a"], ("a",), {"a": 1}, b"a"])
def test_what_is_no_label_says_what_it_is(value):
    with pytest.raises(ValueError, match=r"several labels|which is no label"):
        label_text(value)


def test_numbers_come_by_value_and_before_words():
    assert ordered_labels(["10", "2", "unknown", "1", "-3"]) == ["-3", "1", "2", "10", "unknown"]
    assert ordered_labels(["1.50", "1.5", "0.25"]) == ["0.25", "1.5"]


@pytest.mark.parametrize(
    ("known", "wanted", "rows"),
    [
        (BY_ALPHABET, MNLI, [1, 2, 0]),
        (["CONTRADICTION", "Neutral", "entailment"], MNLI, [2, 1, 0]),
        (["LABEL_0", "LABEL_1", "LABEL_2"], MNLI, [0, 1, 2]),
        (["LABEL_2", "LABEL_0", "LABEL_1"], MNLI, [1, 2, 0]),
        (["1", "0", "2"], MNLI, [1, 0, 2]),
        (["1.0", "2.0"], ["1", "2"], [0, 1]),
        (["False", "True"], ["0", "1"], [0, 1]),
        (["0", "1", "2"], ["1", "2", "3"], None),
        (["neg", "pos"], ["negative", "positive"], None),
        (["a", "b"], MNLI, None),
    ],
)
def test_the_rows_of_a_head_are_found_by_name(known, wanted, rows):
    assert matching_rows(known, wanted) == rows


def test_a_public_tasks_numbers_are_its_own_whatever_the_models_order():
    labels = LabelSet.of_model(BY_ALPHABET, MNLI)
    assert labels.names == tuple(BY_ALPHABET)
    assert [labels.row(text) for text in ("0", "1", "2", "3", "Neutral", "-1")] == [1, 2, 0, None, 2, None]


def test_numbers_say_nothing_to_names_that_nobody_put_in_order():
    labels = LabelSet.of_model(["neg", "pos"], None)
    assert [labels.row(text) for text in ("neg", "POS", "0", "1")] == [0, 1, None, None]
    assert "--set task.label_names='[neg, pos]'" in labels.remedy("0")


def test_rows_without_names_are_their_numbers_and_take_the_tasks_names():
    bare = LabelSet.of_model(["LABEL_0", "LABEL_1"], None)
    assert [bare.row(text) for text in ("0", "1", "LABEL_1", "2", "neg", "True")] == [0, 1, 1, None, None, 1]
    assert "no names" in bare.remedy("neg")
    named = LabelSet.of_model(["LABEL_1", "LABEL_0"], ["negative", "positive"])
    assert named.names == ("positive", "negative")
    assert [named.row(text) for text in ("0", "1", "negative", "LABEL_1")] == [1, 0, 1, 0]


def test_names_that_are_numbers_are_names_first():
    labels = LabelSet.of_model(["1", "2", "3"], None)
    assert [labels.row(text) for text in ("0", "1", "2", "3")] == [None, 0, 1, 2]
    older = LabelSet.of_model(["1.0", "10.0", "2.0"], None)
    assert [older.row(text) for text in ("1", "2", "10")] == [0, 2, 1]


def test_names_that_begin_with_their_number_are_found_by_it():
    stars = ["1 star", "2 stars", "3 stars"]
    for labels in (LabelSet.of_model(stars, None), LabelSet.of_task(stars, listed_by_task=True)):
        assert [labels.row(text) for text in ("1", "2", "3", "0", "3 stars")] == [0, 1, 2, None, 2]
    assert LabelSet.of_task(["3d", "2 d"], listed_by_task=True).row("1") == 1


def test_labels_in_a_recipe_may_be_numbers():
    config = TaskConfig(train="a", evaluation="b", label_names=[-1, 0, 1.0], drop_labels=[2, True])
    assert config.label_names == ["-1", "0", "1"] and config.drop_labels == ["2", "True"]
    with pytest.raises(ValueError, match=r"names a label twice: 1, 1\.0"):
        TaskConfig(train="a", evaluation="b", label_names=["1", "1.0"])


def rows_of(kind, values):
    if kind == "csv":
        return "text,label\n" + "".join(f"film {i},{'' if v is None else v}\n" for i, v in enumerate(values))
    return "".join(json.dumps({"text": f"film {i}", "label": value}) + "\n" for i, value in enumerate(values))


@pytest.mark.parametrize("train", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("evaluation", ["csv", "jsonl", "parquet"])
def test_whole_floats_are_the_same_classes_in_every_format(write, tmp_path, bert_tokenizer, train, evaluation):
    def source(name, kind, values):
        if kind != "parquet":
            return write(f"{name}.{kind}", rows_of(kind, values))
        import pyarrow
        from pyarrow import parquet

        texts = [f"film {i}" for i in range(len(values))]
        parquet.write_table(pyarrow.table({"text": texts, "label": values}), tmp_path / f"{name}.parquet")
        return str(tmp_path / f"{name}.parquet")

    config = TaskConfig(train=source("t", train, [10.0, 2.0, 1.0, 2.0]), evaluation=source("e", evaluation, [1, 2, 10]))
    data = load_task(config, bert_tokenizer)
    assert data.label_names == ["1", "2", "10"]
    assert data.train.labels.tolist() == [2, 1, 0, 1] and data.evaluation.labels.tolist() == [0, 1, 2]


def test_booleans_are_the_same_classes_in_every_format(write, bert_tokenizer):
    config = TaskConfig(
        train=write("t.jsonl", rows_of("jsonl", [True, False, True])),
        evaluation=write("e.csv", rows_of("csv", ["true", "FALSE", 0, 1])),
    )
    data = load_task(config, bert_tokenizer)
    assert data.label_names == ["False", "True"] and data.evaluation.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_training_rows_without_a_label_are_left_out_and_counted(write, bert_tokenizer, kind):
    path = write(f"t.{kind}", rows_of(kind, ["pos", None, "neg", "-1", None]))
    data = load_task(TaskConfig(train=path, evaluation=path), bert_tokenizer)
    assert data.label_names == ["neg", "pos"] and len(data.train) == 2
    assert data.statistics["dropped"]["train"] == {"no label": 2, "label -1": 1}
    assert data.evaluation.labels.tolist() == [1, -1, 0, -1, -1]
    assert data.statistics["evaluation"]["unlabelled"] == 3


def test_gaps_in_a_regression_are_no_numbers(write, bert_tokenizer):
    path = write("t.jsonl", rows_of("jsonl", [1.5, None, -1, math.nan]))
    data = load_task(TaskConfig(train=path, evaluation=path), bert_tokenizer)
    assert data.kind == "regression" and data.train.labels.tolist() == [1.5, -1.0]
    assert data.evaluation.labelled.tolist() == [True, False, True, False]
    hidden = TaskConfig(train=path, evaluation=write("e.csv", rows_of("csv", [-1, -1.0])))
    assert not load_evaluations(hidden, "regression", bert_tokenizer, None)[0]["evaluation"].labelled.any()


@pytest.mark.parametrize(
    ("values", "names"),
    [([-1, 1, 1], ["-1", "1"]), ([-2, -1, 0, 1], ["-2", "-1", "0", "1"]), ([-1, 0, 1, 2], ["0", "1", "2"])],
)
def test_minus_one_is_a_class_beside_one_other_or_other_negatives(write, bert_tokenizer, values, names):
    path = write("t.csv", rows_of("csv", values))
    assert load_task(TaskConfig(train=path, evaluation=path), bert_tokenizer).label_names == names


def test_minus_one_beside_zero_and_one_must_be_told(write, bert_tokenizer):
    path = write("t.csv", rows_of("csv", [0, 1, -1, 1]))
    with pytest.raises(DataError, match=r"holds -1 in 1 rows beside 0 and 1: .*task\.label_names.*task\.drop_labels"):
        load_task(TaskConfig(train=path, evaluation=path), bert_tokenizer)
    three = TaskConfig(train=path, evaluation=path, label_names=["-1", "0", "1"])
    assert load_task(three, bert_tokenizer).train.labels.tolist() == [1, 2, 0, 2]
    two = TaskConfig(train=path, evaluation=path, drop_labels=["-1"])
    assert load_task(two, bert_tokenizer).train.labels.tolist() == [0, 1, 1]


def test_a_source_without_a_column_of_labels_can_be_predicted(write, bert_tokenizer, caplog):
    path = write("e.jsonl", '{"text": "a film"}\n{"text": "a plot"}\n')
    labels = LabelSet.of_model(["neg", "pos"], None)
    config = TaskConfig(train=path, evaluation=path)
    assert load_evaluations(config, "classification", bert_tokenizer, labels)[0]["evaluation"].labels.tolist() == [
        -1,
        -1,
    ]
    assert "no column 'label' (columns: text)" in caplog.text
    named = TaskConfig(train=path, evaluation=path, label_column="lable")
    with pytest.raises(DataError, match="no column 'lable'"):
        load_evaluations(named, "classification", bert_tokenizer, labels)


def test_glues_own_files_without_labels_have_their_texts(write, bert_tokenizer):
    path = write("test.tsv", "sentence1\tsentence2\na film\ta plot\n")
    config = TaskConfig(task_name="mnli", train=path, evaluation=path)
    labels = LabelSet.of_model(BY_ALPHABET, MNLI)
    assert load_evaluations(config, "classification", bert_tokenizer, labels)[0]["evaluation"].texts == [
        ("a film", "a plot")
    ]


def test_a_number_in_evaluation_is_no_guess_at_training_words(write, bert_tokenizer):
    config = TaskConfig(
        train=write("t.csv", rows_of("csv", ["neg", "pos"])), evaluation=write("e.csv", rows_of("csv", [1]))
    )
    with pytest.raises(DataError, match=r"e\.csv:2: the label '1' .*nothing says which.*task\.label_names='\[neg, pos"):
        load_task(config, bert_tokenizer)


def test_texts_in_training_and_evaluation_are_counted(write, bert_tokenizer):
    train = write("t.csv", "text,label\nA  Film,pos\na plot,neg\n")
    config = TaskConfig(train=train, evaluation=write("e.csv", "text,label\na film,pos\nanother,neg\n"))
    assert load_task(config, bert_tokenizer).statistics["overlap"] == {"evaluation": 1}


@pytest.mark.parametrize("check", ["load", "before"])
def test_a_split_to_report_on_needs_a_label(write, bert_tokenizer, check):
    train, empty = write("t.csv", rows_of("csv", ["neg", "pos"])), write("e.csv", rows_of("csv", ["-1", None]))
    config = TaskConfig(train=train, evaluation=train, also_evaluate={"other": empty})
    with pytest.raises(DataError, match=r"task\.other: no row has a label.*`pruneofa evaluate`"):
        load_task(config, bert_tokenizer) if check == "load" else check_sources(config)

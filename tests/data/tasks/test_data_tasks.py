import re

import numpy as np
import pytest

from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import LabelSet
from pruneofa.data.tasks.loading import load_evaluations, load_task
from pruneofa.errors import ConfigurationError, DataError

TRAIN = "text,label\ngood film,fresh\nbad film,rotten\nvery good,fresh\n"
EVALUATION = "text,label\nnot bad,fresh\na plot,rotten\n"


@pytest.fixture
def load(write, bert_tokenizer):
    def _load(train=TRAIN, evaluation=EVALUATION, name="csv", tokenizer=None, limit=None, **settings):
        config = TaskConfig(
            train=write(f"train.{name}", train), evaluation=write(f"evaluation.{name}", evaluation), **settings
        )
        return load_task(config, tokenizer or bert_tokenizer, limit)

    return _load


def test_single_texts(load, bert_tokenizer):
    data = load()
    assert data.label_names == ["fresh", "rotten"]
    assert len(data.train) == 3 and data.train.labels.tolist() == [0, 1, 0] and data.train.texts[1] == "bad film"
    for key in (1, (4, 1)):
        example = data.train[key]
        assert example == {"input_ids": bert_tokenizer("bad film")["input_ids"], "attention_mask": [1] * 4, "label": 1}
    assert data.train.lengths.tolist() == [4, 4, 4]
    assert data.statistics["evaluation"] == {
        "examples": 2, "truncated": 0, "mean_length": 4.0, "longest": 4, "labels": {"fresh": 1, "rotten": 1}
    }  # fmt: skip


def test_pairs_cut_the_longer_text_first(load, bert_tokenizer, roberta_tokenizer):
    train = "a\tb\ty\n" + "good\t" + "bad " * 30 + "\t0\n" + "one\ttwo\t1\n"
    settings = {"name": "tsv", "text_column": "a", "text_pair_column": "b", "label_column": "y", "max_length": 10}
    data = load(train, "a\tb\ty\nfilm\tplot\t1\n", **settings)
    good, bad = bert_tokenizer.convert_tokens_to_ids(["good", "bad"])
    assert data.train[0] == {
        "input_ids": [2, good, 3, *[bad] * 6, 3],
        "token_type_ids": [0] * 3 + [1] * 7,
        "attention_mask": [1] * 10,
        "label": 0,
    }
    assert data.train.truncated == data.statistics["train"]["truncated"] == 1
    assert data.train.texts[1] == ("one", "two")
    assert "token_type_ids" not in load(train, train, tokenizer=roberta_tokenizer, **settings).train[0]


def test_tokens_equal_the_tokenizers_own_truncation(load, bert_tokenizer):
    texts = [" ".join(["good", "film"] * n) for n in range(1, 12)]
    rows = "text,label\n" + "".join(f"{text},{i % 2}\n" for i, text in enumerate(texts))
    data = load(rows, rows, max_length=12)
    expected = bert_tokenizer(texts, truncation=True, max_length=12)["input_ids"]
    assert [example.tolist() for example in data.train.input_ids] == expected
    assert data.train.truncated == sum(2 * n + 2 > 12 for n in range(1, 12))


def test_labels_of_json_lines_are_put_in_order(load):
    rows = "".join(f'{{"text": "a", "label": {label}}}\n' for label in (10, 2, 2.0, '" 1 "', -1))
    data = load(rows, '{"text": "a", "label": "2"}', name="jsonl")
    assert data.label_names == ["1", "2", "10"]
    assert data.train.labels.tolist() == [2, 1, 1, 0] and data.evaluation.labels.tolist() == [1]
    assert data.statistics["dropped"] == {"train": {"label -1": 1}}


def test_given_label_names_keep_their_order(load):
    data = load(label_names=["rotten", "fresh", "stale"])
    assert data.label_names == ["rotten", "fresh", "stale"]
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.statistics["train"]["labels"] == {"rotten": 1, "fresh": 2, "stale": 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": "txt,label\na,b\n"}, r"train\.csv:2: no column 'text'; columns found: 'txt', 'label'; did you mean"),
        ({"text_pair_column": "pair"}, r"train\.csv:2: no column 'pair'"),
        ({"label_column": "lable"}, r"no column 'lable'; columns found: 'text', 'label'; did you mean 'label'\?"),
        ({"evaluation": "text,label\n"}, r"evaluation\.csv is empty"),
        ({"evaluation": "text,label\na,fresh\nb,stale\n"},
         r"evaluation\.csv:3: the label 'stale' is not among the labels of training \(fresh, rotten\); .* add tr"),
        ({"evaluation": "text,label\na,stale\n", "label_names": ["fresh", "rotten", "stale"]},
         r"evaluation\.csv:2: the label 'stale' of the evaluation data does not occur in training"),
        ({"label_names": ["fresh", "stale"]}, r"train\.csv:3: the label 'rotten' is not among label_names \(fresh, s"),
        ({"train": "text,label\na, \nb,\n"}, r"train\.csv': no row has a label in column 'label'"),
        ({"train": "text,label\na,fresh\n"}, "every training example has the label 'fresh'; a classification needs"),
        ({"train": "text,label\na,fresh\n", "label_names": ["fresh", "rotten"]}, "every training example has"),
        ({"max_length": 64, "limit": 32}, "max_length is 64, but the model takes at most 32 tokens"),
    ],
)  # fmt: skip
def test_errors(load, settings, message):
    with pytest.raises(DataError, match=message):
        load(**settings)


@pytest.mark.parametrize(("value", "what"), [("[1]", "several labels"), ('{"a": 1}', "a dict, which is no label")])
def test_what_is_no_label(load, value, what):
    rows = '{"text": "a", "label": "x"}\n' + f'{{"text": "a", "label": {value}}}'
    with pytest.raises(DataError, match=rf"train\.jsonl:2: column 'label' holds .*, {what}"):
        load(rows, '{"text": "a", "label": "x"}', name="jsonl")


ODD = "column 'label' holds {!r}, no number, while {} has {}; correct the row, or set task.kind to classification or"


@pytest.mark.parametrize(
    ("name", "train", "told"),
    [
        ("csv", "text,label\na,1.5\nb,2\nc,nan\n", ("nan", "train.csv:2", "'1.5'")),
        ("csv", "text,label\na,high\nb,-2.5\n", ("high", "train.csv:3", "'-2.5'")),
        ("jsonl", '{"text": "a", "label": "pos"}\n{"text": "b", "label": 1}\n', ("pos", "train.jsonl:2", "1")),
        ("jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": 0}\n', ("True", "train.jsonl:2", "0")),
    ],
)
def test_a_slip_in_numbers_makes_no_classes_of_them(load, name, train, told, tmp_path):
    value, place, number = told
    with pytest.raises(DataError, match=re.escape(ODD.format(value, tmp_path / place, number))):
        load(train, train, name=name)


def test_numbers_in_text_may_be_classes_among_others(load):
    train = "text,label\na,1\nb,2\nc,unknown\n"
    assert load(train, train).label_names == ["1", "2", "unknown"]
    train = "text,label\na,1.5\nb,unknown\n"
    assert load(train, train, kind="classification").label_names == ["1.5", "unknown"]


def test_a_column_that_hardly_repeats_is_none_of_labels(load):
    ids = "text,label\n" + "".join(f"film {i},id{i % 26}\n" for i in range(50))
    with pytest.raises(DataError, match=r"'label' has 26 different labels in 50 examples \(id0, id1, id10, \.\.\.\)"):
        load(ids, ids)
    more = ids + "film,id0\nplot,id1\n"
    assert len(load(more, more).label_names) == 26
    few = "text,label\n" + "".join(f"film {i},id{i}\n" for i in range(20))
    assert len(load(few, few).label_names) == 20
    assert len(load(ids, ids, label_names=[f"id{i}" for i in range(26)]).label_names) == 26


def test_one_split_with_a_models_labels(write, bert_tokenizer):
    config = TaskConfig(train="unused", evaluation="unused")
    path = write("more.csv", EVALUATION)
    config = config.model_copy(update={"evaluation": path})
    labels, rotten = LabelSet.of_model(["rotten", "fresh"], None), LabelSet.of_model(["rotten"], None)
    split = load_evaluations(config, "classification", bert_tokenizer, labels)[0]["evaluation"]
    assert split.labels.tolist() == [1, 0] and split.labels.dtype == np.int64
    with pytest.raises(DataError, match=r"more\.csv:2: the label 'fresh' is not among the model's labels \(rotten\)"):
        load_evaluations(config, "classification", bert_tokenizer, rotten)
    with pytest.raises(DataError, match="model takes at most 16"):
        load_evaluations(
            TaskConfig(train="unused", evaluation=path, max_length=17), "classification", bert_tokenizer, None, 16
        )
    with pytest.raises(DataError, match="the model was trained for regression, but the task 'classification' is class"):
        load_evaluations(config.model_copy(update={"kind": "classification"}), "regression", bert_tokenizer, None)


def test_settings_are_checked_all_at_once():
    with pytest.raises(ConfigurationError) as caught:
        TaskConfig(train="", evaluation="e", max_length=2, metric="bleu", label_names=["a", "a"], text="x")
    errors = dict(line.strip().split(": ", 1) for line in str(caught.value).splitlines()[1:])
    assert set(errors) == {"train", "max_length", "metric", "label_names", "text"}
    assert "names a label twice: a" in errors["label_names"]

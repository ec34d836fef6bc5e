"""Public tasks found in a local folder, by made-up files; the real ones where a folder of them is named."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pruneofa.data.tasks.columns import columns_of
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.data.tasks.loading import load_evaluations, load_task
from pruneofa.data.tasks.presets import PRESETS
from pruneofa.data.tasks.rows import read_evaluation_rows, read_task_rows
from pruneofa.data.tasks.splitting import article_lists, hold_out
from pruneofa.errors import ConfigurationError, DataError

DATA_DIR = os.environ.get("PRUNEOFA_DATA_DIR")


def squad_text(*articles):
    def questions(title):
        answers = [{"text": "film", "answer_start": 5 + len(title)}]
        return [{"id": f"{title}-{i}", "question": "is good", "answers": answers} for i in range(3)]

    def paragraph(title):
        return {"context": f"the {title} film is good", "qas": questions(title)}

    return json.dumps({"data": [{"title": title, "paragraphs": [paragraph(title)]} for title in articles]})


SPLIT = json.dumps({"train_articles": ["one", "two"], "eval_articles": ["three"]})
GLUE = {
    "sst2": ("sentence\tlabel", ["good film\t1", "bad film\t0"]),
    "mnli": (
        "index\tgenre\tsentence1\tsentence2\tgold_label",
        ["0\tx\tgood.\tbad\tentailment", "1\tx\tbad film...\tone\t-", "2\tx\ta\tplot .\tneutral",
         "3\tx\tb\tc\tcontradiction"],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        ["0\t1\t2\tgood\tbad\t0", "1\t3\tbroken", "2\t1\t2\tis\tis\t1"],
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", ["0\tgood\tbad\tentailment", "1\tone\ttwo\tnot_entailment"]),
}  # fmt: skip


def write_glue(write, task, folder, *names):
    header, rows = GLUE[task]
    for name in names:
        write(f"{folder}/{name}", "\n".join([header, *rows]) + "\n")


@pytest.mark.parametrize(
    ("task", "folder", "names"),
    [
        ("sst2", "SST-2", ["train.tsv", "dev.tsv"]),
        ("mnli", "MNLI", ["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"]),
        ("qqp", "QQP", ["train.tsv", "dev.tsv"]),
        ("qnli", "QNLI", ["train.tsv", "dev.tsv"]),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_glues_own_files(write, tmp_path, bert_tokenizer, task, folder, names, inside):
    write_glue(write, task, folder, *names)
    data_dir = tmp_path / folder if inside else tmp_path
    data = load_task(TaskConfig(task_name=task, data_dir=str(data_dir)), bert_tokenizer)
    assert data.label_names == PRESETS[task].settings["label_names"]
    assert list(data.evaluations) == (["evaluation", "mismatched"] if task == "mnli" else ["evaluation"])
    assert len(data.train) == (3 if task == "mnli" else 2)
    assert "partial" not in data.statistics
    if task == "sst2":
        assert data.train.labels.tolist() == [1, 0]
    if task in ("mnli", "qqp"):
        reason = "label '-'" if task == "mnli" else "lines with more or fewer fields than the header"
        assert data.statistics["dropped"] == {split: {reason: 1} for split in ("train", *data.evaluations)}


def test_a_training_set_that_has_lost_its_full_stops(write, tmp_path, bert_tokenizer):
    write_glue(write, "mnli", "mnli", "train_subset.tsv", "dev_matched.tsv")
    data = load_task(TaskConfig(task_name="mnli", data_dir=str(tmp_path)), bert_tokenizer)
    assert data.evaluation.texts == [("good", "bad"), ("a", "plot"), ("b", "c")]
    assert data.statistics["partial"] == "trained on a part of MNLI's training set"
    full = "index\tsentence1\tsentence2\tgold_label\n0\twait...\tno.\tneutral\n1\ta\tb\tentailment\n"
    write("mnli/dev_matched.tsv", full)
    texts = load_task(TaskConfig(task_name="mnli", data_dir=str(tmp_path)), bert_tokenizer).evaluation.texts
    assert texts[0] == ("wait...", "no")


def test_dev_sets_alone_are_split_by_article(write, tmp_path, bert_tokenizer):
    write("squad_v1.1_dev/dev-v1.1.json", squad_text("one", "two", "three"))
    write("squad_v1.1_dev/article_split.json", SPLIT)
    rows = "index\tquestion\tsentence\tlabel\tsquad_article\n" + "".join(
        f"{i}\tq{i}\ts\t{label}\t{article}\n"
        for i, (label, article) in enumerate(
            [("entailment", "one"), ("not_entailment", "two"), ("entailment", "three"), ("entailment", "four")]
        )
    )
    write("qnli/dev.tsv.gz", gzip.compress(rows.encode()))
    small = {"question_answering": {"stride": 4, "max_question_length": 8}, "max_length": 32}
    squad = load_task(TaskConfig(task_name="squad", data_dir=str(tmp_path), **small), bert_tokenizer)
    assert [question.id for question in squad.evaluation.questions] == ["three-0", "three-1", "three-2"]
    assert len(squad.train.questions) == 6
    qnli = load_task(TaskConfig(task_name="qnli", data_dir=str(tmp_path / "qnli")), bert_tokenizer)
    assert [text for text, _ in qnli.train.texts] == ["q0", "q1"]
    assert [text for text, _ in qnli.evaluation.texts] == ["q2"]
    assert "split by article" in qnli.statistics["partial"]
    with_train = located(TaskConfig(task_name="squad", data_dir=str(tmp_path)))
    write("squad/train-v1.1.json", squad_text("four"))
    write("squad/dev-v1.1.json", squad_text("five"))
    assert (
        located(TaskConfig(task_name="squad", data_dir=str(tmp_path))).article_split is None != with_train.article_split
    )


def test_what_is_held_out_is_whole_articles_and_the_same_for_everyone(write, tmp_path):
    write("squad/train-v1.1.json", squad_text(*(f"t{i}" for i in range(20))))
    write("squad/dev-v1.1.json", squad_text("dev"))
    config = TaskConfig(task_name="squad", data_dir=str(tmp_path), validation_fraction=0.2)
    rows = read_task_rows(located(config))
    held, kept = ({row["title"] for row in part} for part in (rows.validation, rows.train))
    assert len(held) == 4 and len(kept) == 16 and not held & kept
    assert rows == read_task_rows(located(config))
    assert [row["title"] for row in read_evaluation_rows(located(config), "question_answering")[0]["evaluation"]] == [
        "dev"
    ] * 3


def test_texts_that_are_the_same_are_on_one_side():
    items = [f"text {i % 10}" for i in range(50)]
    kept, held = hold_out(items, lambda text: text, 0.3, "validation")
    assert not set(kept) & set(held)
    assert sorted([*kept, *held]) == sorted(items)
    assert len(held) == 15
    other = hold_out(items, lambda text: text, 0.3, "evaluation")[1]
    assert set(other) != set(held)
    with pytest.raises(DataError, match="3 examples of 1 group can't be split for validation"):
        hold_out(["a"] * 3, lambda text: text, 0.3, "validation")
    kept, held = hold_out(["a", "b"], lambda text: text, 0.5, "x")
    assert len(kept) == len(held) == 1


def test_one_file_of_ones_own_is_split_to_evaluate_on(write, bert_tokenizer):
    rows = "text,label\n" + "".join(f"film {word} {i % 2},{i % 2}\n" for i, word in enumerate("abcdefghij"))
    config = TaskConfig(train=write("mine.csv", rows), evaluation_fraction=0.3, validation_fraction=0.2)
    data = load_task(config, bert_tokenizer)
    assert (len(data.train), len(data.validation), len(data.evaluation)) == (5, 2, 3)
    parts = [set(part.texts) for part in (data.train, data.validation, data.evaluation)]
    assert len(set.union(*parts)) == 10
    assert set(read_evaluation_rows(config, "classification")[0]["evaluation"][0]) == {"text", "label"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_name": "sst2", "data_dir": "nowhere"}, "task.data_dir: no folder 'nowhere'"),
        ({"task_name": "mine", "data_dir": "."}, "'mine' is no public task whose files are known \\(sst2, mnli"),
    ],
)
def test_folders_that_lead_nowhere(settings, message):
    with pytest.raises(DataError, match=message):
        located(TaskConfig(**settings))


def test_a_folder_without_the_files_says_which(tmp_path):
    with pytest.raises(
        DataError, match=r"nor its folders QNLI, qnli hold the files of qnli: train\.tsv and dev\.tsv; or dev"
    ):
        located(TaskConfig(task_name="qnli", data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON file with the lists"),
        ("{}", "is no JSON file with the lists"),
        ('{"train_articles": ["a"], "eval_articles": ["a"]}', "has 'a' on both lists"),
    ],
)
def test_article_lists_that_are_none(write, text, message):
    with pytest.raises(DataError, match=message):
        article_lists(write("s.json", text))


def test_articles_that_no_row_has(write, bert_tokenizer):
    path = write("t.csv", "text,label,title\na,0,one\nb,1,two\n")
    split = write("s.json", '{"train_articles": ["one", "two"], "eval_articles": ["x"]}')
    with pytest.raises(DataError, match="no row of evaluation has an article of its list in column 'title'"):
        load_task(TaskConfig(train=path, evaluation=path, article_split=split), bert_tokenizer)


class TestConfig:
    def test_a_public_task_is_known_by_its_name(self):
        config = TaskConfig(task_name="mnli")
        assert config.train == "hub:nyu-mll/glue/mnli:train"
        assert config.also_evaluate == {"mismatched": "hub:nyu-mll/glue/mnli:validation_mismatched"}
        assert TaskConfig(task_name="squad").kind == "question_answering"
        assert TaskConfig(task_name="squad_v2").question_answering.unanswerable is True
        assert TaskConfig(task_name="qqp", metric="accuracy").metric == "accuracy"
        own = TaskConfig(task_name="sst2", train="a.csv", evaluation="b.csv")
        assert (own.train, own.evaluation) == ("a.csv", "b.csv")

    def test_questions_on_texts_get_the_length_that_they_need(self):
        own = {"train": "a.json", "evaluation": "b.json"}
        assert (
            TaskConfig(**own, kind="question_answering").max_length == 384 == TaskConfig(task_name="squad").max_length
        )
        assert TaskConfig(**own, kind="question_answering", max_length=256).max_length == 256
        assert TaskConfig(**own).max_length == 128

    def test_a_written_task_reads_back(self):
        for name in PRESETS:
            config = TaskConfig(task_name=name, validation_fraction=0.1)
            assert TaskConfig.model_validate(config.model_dump(mode="json")) == config

    @pytest.mark.parametrize(
        ("settings", "where", "message"),
        [
            ({}, "train", "is required and missing"),
            ({"train": "a"}, "evaluation", "is required and missing"),
            ({"data_dir": "d", "train": "a"}, "train", "is given beside data_dir"),
            ({"train": "a", "evaluation": "b", "evaluation_fraction": 0.1}, "evaluation", "beside evaluation_fraction"),
            ({"train": "a", "evaluation": "b", "also_evaluate": {"train": "c"}}, "also_evaluate", "the name 'train'"),
            ({"train": "a", "evaluation": "b", "also_evaluate": {"a/b": "c"}}, "also_evaluate", "the name 'a/b'"),
            (
                {"train": "a", "evaluation": "b", "kind": "regression", "metric": "f1"},
                "metric",
                "allowed for regression",
            ),
            ({"task_name": "squad", "metric": "accuracy"}, "metric", "allowed for question_answering: exact_match, f1"),
            (
                {"train": "a", "evaluation": "b", "validation_fraction": 0.6},
                "validation_fraction",
                "less than or equal",
            ),
        ],
    )
    def test_faults(self, settings, where, message):
        with pytest.raises(ConfigurationError) as caught:
            TaskConfig(**settings)
        assert f"{where}: " in str(caught.value)
        assert message in str(caught.value)

    def test_a_metric_of_another_kind_is_told_when_the_kind_is_known(self, write, bert_tokenizer):
        path = write("t.csv", "text,label\na,0\nb,1\n")
        with pytest.raises(
            ConfigurationError, match=r"task\.metric is 'pearson', but the task is classification; allowed: a"
        ):
            load_task(TaskConfig(train=path, evaluation=path, metric="pearson"), bert_tokenizer)

    def test_questions_are_longer_without_being_named_as_such(self, write, bert_tokenizer):
        path = write("own.json", squad_text("one").replace("is good", "is good" + " film" * 500))
        split = {"train": path, "evaluation": path}
        data = load_task(TaskConfig(**split), bert_tokenizer, 512)
        assert data.kind == "question_answering" and data.train.lengths.max() == 384
        evaluations, _ = load_evaluations(TaskConfig(**split), "question_answering", bert_tokenizer, None, 512)
        assert evaluations["evaluation"].lengths.max() == 384
        given = load_task(TaskConfig(**split, max_length=256), bert_tokenizer, 512)
        assert given.train.lengths.max() == 256
        assert load_task(TaskConfig(**split), bert_tokenizer, 300).train.lengths.max() == 300
        with pytest.raises(DataError, match="max_length is 400, but the model takes at most 300 tokens"):
            load_task(TaskConfig(**split, max_length=400), bert_tokenizer, 300)
        texts = write("t.csv", "text,label\na" + " film" * 500 + ",0\nb,1\n")
        assert load_task(TaskConfig(train=texts, evaluation=texts), bert_tokenizer).train.lengths.max() == 128

    def test_columns_are_those_of_the_form_at_hand(self):
        from pruneofa.data.sources.rows import Row

        hub = Row({"premise": "a", "hypothesis": "b", "label": "x", "idx": 1}, "h")
        files = Row({"sentence1": "a", "sentence2": "b", "gold_label": "x"}, "f")
        assert columns_of(TaskConfig(task_name="mnli"), hub).text == "premise"
        assert columns_of(TaskConfig(task_name="mnli"), files).label == "gold_label"
        given = TaskConfig(task_name="mnli", text_column="a", label_column="c", text_pair_column="b")
        assert vars(columns_of(given, files)) == {"text": "a", "pair": "b", "label": "c"}


class TestRegression:
    def test_numbers_that_are_not_all_whole_make_a_regression(self, write, bert_tokenizer):
        path = write("t.csv", "text,label\ngood,4.5\nbad,1\nfilm,-2e-1\n")
        data = load_task(TaskConfig(train=path, evaluation=path), bert_tokenizer)
        assert data.kind == "regression" and data.label_names is None
        assert data.train.labels.tolist() == pytest.approx([4.5, 1.0, -0.2])
        assert data.train[0]["label"] == 4.5
        assert data.statistics["train"]["labels"]["mean"] == pytest.approx(5.3 / 3)
        whole = load_task(TaskConfig(train=path, evaluation=path, kind="classification"), bert_tokenizer)
        assert whole.label_names == ["-2e-1", "1", "4.5"]

    def test_what_is_no_number_is_told(self, write, bert_tokenizer):
        train = write("t.csv", "text,label\ngood,4.5\nbad,1\n")
        bad = write("e.csv", "text,label\ngood,many\n")
        with pytest.raises(
            DataError, match=r"e\.csv:2: column 'label' holds 'many', no finite number, but the task is"
        ):
            load_task(TaskConfig(train=train, evaluation=bad), bert_tokenizer)
        with pytest.raises(DataError, match="holds 'inf', no finite number"):
            path = write("i.csv", "text,label\ngood,inf\n")
            load_task(TaskConfig(train=path, evaluation=path, kind="regression"), bert_tokenizer)


@pytest.mark.skipif(DATA_DIR is None, reason="PRUNEOFA_DATA_DIR names no folder with the tasks' files")
@pytest.mark.parametrize(
    ("task", "train", "evaluation"),
    [("sst2", 67349, 872), ("mnli", 9888, 9815), ("qnli", 4380, 1083), ("squad", 8477, 2093), ("qqp", 102, 44)],
)
def test_the_real_files(task, train, evaluation):
    rows = read_task_rows(located(TaskConfig(task_name=task, data_dir=str(Path(str(DATA_DIR))))))
    assert (len(rows.train), len(rows.evaluations["evaluation"]), rows.dropped) == (train, evaluation, {})


class TestClassesOfASplit:
    def test_every_class_is_on_both_sides_in_its_share(self, write):
        labels = ["aa"] * 60 + ["bb"] * 55 + ["cc"] * 3 + ["dd"] * 2
        path = write("t.csv", "text,label\n" + "".join(f"film {i},{label}\n" for i, label in enumerate(labels)))
        for seed in range(20):
            config = TaskConfig(train=path, evaluation_fraction=0.3, validation_fraction=0.2, split_seed=seed)
            rows = read_task_rows(config)
            held = Counter(row["label"] for row in rows.evaluations["evaluation"])
            assert held["cc"] == held["dd"] == 1 and abs(held["aa"] - 18) <= 1 and abs(held["bb"] - 16.5) <= 1
            assert {row["label"] for row in rows.train} == {"aa", "bb", "cc", "dd"}
            assert {row["label"] for row in rows.validation} >= {"aa", "bb", "cc"}

    def test_its_own_seed_decides_it(self, write):
        path = write("t.csv", "text,label\n" + "".join(f"film {i},{i % 2}\n" for i in range(40)))
        splits = [
            [
                row["text"]
                for row in read_task_rows(TaskConfig(train=path, evaluation_fraction=0.3, split_seed=seed)).train
            ]
            for seed in (0, 0, 1)
        ]
        assert splits[0] == splits[1] != splits[2]

    def test_a_class_that_cannot_be_on_both_sides_is_told(self, write, caplog):
        path = write("t.csv", "text,label\n" + "".join(f"film {i},{i % 2}\n" for i in range(20)) + "one,rare\n")
        rows = read_task_rows(TaskConfig(train=path, evaluation_fraction=0.3))
        assert "evaluation: holds no example of the label 'rare' (1 of 21)" in caplog.text
        assert "task.evaluation_fraction is 0.3" in caplog.text
        assert "rare" in {row["label"] for row in rows.train}

    def test_many_small_classes_do_not_take_all_of_training(self):
        items = [(f"t{i}", f"c{i % 50}") for i in range(100)]
        kept, held = hold_out(items, lambda item: item[0], 0.1, "validation", stratum_of=lambda item: item[1])
        assert len(held) == 10 and len(kept) == 90

"""What the engine answers is what the hub's pipelines and rerankers answer, by what the folder says."""

import pytest
from odd_folders import change, random_texts, write_model

from pruneofa.engine.engine import Engine
from pruneofa.errors import CheckpointError, ConfigurationError, DataError

TEXTS = random_texts(12, 20)
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def pipeline(task, folder):
    import transformers

    return transformers.pipeline(task, str(folder), device="cpu")


def engine(folder):
    return Engine.load(folder, precision="float32")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    write_model(folder, head="ForTokenClassification", num_labels=5, **labels)
    return folder


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
def test_labelled_stretches(tagger, aggregation):
    reference = pipeline("token-classification", tagger)
    reference.tokenizer.model_max_length = 48
    expected = reference(TEXTS, aggregation_strategy=aggregation)
    found = engine(tagger).label_tokens(TEXTS, aggregation=aggregation)
    assert any(found)
    for text, theirs, ours in zip(TEXTS, expected, found, strict=True):
        key = "entity" if aggregation == "none" else "entity_group"
        assert [(e[key], e["word"], e["start"], e["end"]) for e in theirs] == [
            (e.entity, e.word, e.start, e.end) for e in ours
        ]
        assert [e.score for e in ours] == pytest.approx([float(e["score"]) for e in theirs], abs=1e-5)
        assert all(text[e.start : e.end] for e in ours)


def test_one_text_gives_one_list_and_wrong_arguments_are_named(tagger):
    loaded = engine(tagger)
    assert loaded.label_tokens(TEXTS[0]) == loaded.label_tokens(TEXTS[:1])[0]
    assert loaded.label_tokens([]) == []
    with pytest.raises(ConfigurationError, match="aggregation is 'all', allowed are none, simple"):
        loaded.label_tokens("the cat", aggregation="all")
    with pytest.raises(DataError, match="text 1 is tuple"):
        loaded.label_tokens(["the cat", ("a", "b")])


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (3, None),
        (3, "single_label_classification"),
        (3, "multi_label_classification"),
        (3, "regression"),
        (1, "regression"),
        (1, None),
    ],
)
def test_scores_by_kind_of_task(tmp_path, labels, problem):
    write_model(tmp_path, num_labels=labels, problem_type=problem)
    expected = pipeline("text-classification", tmp_path)(TEXTS, top_k=None)
    for theirs, ours in zip(expected, engine(tmp_path).classify(TEXTS), strict=True):
        assert ours.scores == pytest.approx({entry["label"]: entry["score"] for entry in theirs}, abs=1e-5)
        assert (ours.label, ours.score) == (theirs[0]["label"], pytest.approx(theirs[0]["score"], abs=1e-5))


IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {}),
        ("config.json", {"sentence_transformers": {"activation_fn": IDENTITY}}),
        ("config.json", {"sentence_transformers": {"activation_fn": SIGMOID}}),
        ("config.json", {"sbert_ce_default_activation_function": IDENTITY}),
        ("config.json", {"sentence_transformers": {"activation_fn": "own.Function"}}),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder", "activation_fn": IDENTITY}),
    ],
)
def test_a_reranker_scores_as_in_sentence_transformers(tmp_path, name, values):
    library = pytest.importorskip("sentence_transformers")
    write_model(tmp_path, num_labels=1)
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    change(tmp_path, name, **values)
    # Without modules.json the library reads config.json alone.
    expected = library.CrossEncoder(
        str(tmp_path), device="cpu", activation_fn=None if name == "config.json" else _identity()
    ).predict(pairs)
    loaded = engine(tmp_path)
    assert [found.score for found in loaded.classify(pairs)] == pytest.approx([float(e) for e in expected], abs=1e-5)


def _identity():
    import torch

    return torch.nn.Identity()


def test_large_logits_of_a_reranker_stay_apart(tmp_path):
    from safetensors.torch import load_file, save_file

    write_model(tmp_path, num_labels=1)
    weights = load_file(tmp_path / "model.safetensors")
    weights["classifier.bias"] += 60
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = engine(tmp_path)
    assert {found.score for found in loaded.classify(TEXTS)} == {1.0}  # the sigmoid's
    raw = [found.score for found in loaded.classify(TEXTS, raw_scores=True)]
    assert len(set(raw)) == len(set(TEXTS))
    change(tmp_path, "config.json", sentence_transformers={"activation_fn": IDENTITY})
    assert [found.score for found in engine(tmp_path).classify(TEXTS)] == raw


def test_an_activation_that_is_not_known(tmp_path):
    write_model(tmp_path, num_labels=1)
    change(tmp_path, "config.json", sentence_transformers={"activation_fn": "torch.nn.modules.activation.Mish"})
    loaded = engine(tmp_path)
    with pytest.raises(CheckpointError, match=r"activation_fn is 'torch.*Mish', known are Identity, Sigmoid, Softmax"):
        loaded.classify("the cat")
    assert loaded.classify("the cat", raw_scores=True).label == "LABEL_0"


def test_windows_fit_a_short_model(tmp_path):
    write_model(tmp_path, head="ForQuestionAnswering", positions=32, num_labels=2)
    loaded = engine(tmp_path)
    context = " ".join(random_texts(3, 40, seed=5))
    answer = loaded.answer("the cat sat", context)
    assert context[answer.start : answer.end] == answer.text != ""
    with pytest.raises(ConfigurationError, match="max_length is 384, but the model takes at most 32"):
        loaded.answer("the cat sat", context, max_tokens=384)
    none = loaded.answer("the cat sat", context, null_threshold=answer.null_score_difference - 1)
    assert (none.text, none.start, none.end) == ("", 0, 0)
    assert loaded.answer("the cat sat", context, null_threshold=answer.null_score_difference + 1) == answer


def test_a_token_beyond_the_table_is_named(tmp_path):
    from odd_folders import NEW_TOKEN_EDITS

    write_model(tmp_path)
    NEW_TOKEN_EDITS["a new token"](tmp_path)
    loaded = engine(tmp_path)
    assert loaded.classify("the cat").label in loaded.labels
    with pytest.raises(
        DataError, match=r"text 1 holds the token 'New', number \d+, but the model's table has \d+ rows"
    ):
        loaded.classify(["the cat", "the New cat"])

"""Exact match and F1 beside the official scripts' own words and torchmetrics."""

import collections
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import squad as torchmetrics_squad

from pruneofa.data.metrics.answer_metrics import answer_metrics, answer_scores, normalized_answer


# The rules as SQuAD's evaluate-v1.1.py and evaluate-v2.0.py state them.
def official_normalize(s):
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def official_f1(prediction, ground_truth, version_2):
    prediction_tokens = official_normalize(prediction).split()
    ground_truth_tokens = official_normalize(ground_truth).split()
    common = collections.Counter(prediction_tokens) & collections.Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if version_2 and (len(ground_truth_tokens) == 0 or len(prediction_tokens) == 0):
        return int(ground_truth_tokens == prediction_tokens)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def official_1(gold, predictions):
    f1 = exact_match = total = 0
    for name, answers in gold.items():
        total += 1
        if name not in predictions:
            continue
        exact_match += max(official_normalize(predictions[name]) == official_normalize(answer) for answer in answers)
        f1 += max(official_f1(predictions[name], answer, False) for answer in answers)
    return {"exact_match": exact_match / total, "f1": f1 / total}


def official_2(gold, predictions):
    exact, f1 = {}, {}
    for name, answers in gold.items():
        kept = [answer for answer in answers if official_normalize(answer)] or [""]
        if name not in predictions:
            continue
        exact[name] = max(int(official_normalize(answer) == official_normalize(predictions[name])) for answer in kept)
        f1[name] = max(official_f1(predictions[name], answer, True) for answer in kept)

    def means(names):
        return {"exact_match": sum(exact[n] for n in names) / len(names), "f1": sum(f1[n] for n in names) / len(names)}

    found = means(list(exact))
    for prefix, wanted in (("has_answer", True), ("no_answer", False)):
        part = [name for name in exact if bool(gold[name]) == wanted]
        if part:
            found |= {f"{prefix}_{key}": value for key, value in means(part).items()}
    return found


def ours(gold, predictions, unanswerable):
    scores = answer_scores(predictions, gold, unanswerable=unanswerable)
    return answer_metrics(scores, gold, unanswerable=unanswerable)


GOLD = {
    "articles": ["the Eiffel Tower", "Eiffel tower"],
    "punctuation": ["U.S.A.", "USA"],
    "unicode": ["Zoë\u2019s café — naïve", "日本"],
    "partial": ["ten million dollars"],
    "several": ["1976", "in 1976", "the year 1976"],
    "article inside": ["Athens"],
    "only articles": ["The", "a"],
    "missing": ["anything"],
}
PREDICTIONS = {
    "articles": "An  Eiffel\tTOWER!",
    "punctuation": "usa",
    "unicode": "zoë\u2019s café \u2013 naïve",
    "partial": "over ten million",
    "several": "year 1976,",
    "article inside": "the athens of a the",
    "only articles": "an",
}


def test_version_1_on_articles_punctuation_unicode_several_answers_and_a_missing_one():
    found = ours(GOLD, PREDICTIONS, unanswerable=False)
    assert found == pytest.approx(official_1(GOLD, PREDICTIONS), abs=1e-15)
    scores = answer_scores(PREDICTIONS, GOLD, unanswerable=False)
    assert (scores["articles"].exact_match, scores["punctuation"].exact_match) == (1.0, 1.0)
    assert scores["unicode"].exact_match == 0.0 and 0 < scores["unicode"].f1 < 1  # the dash is no ASCII punctuation
    assert (scores["only articles"].exact_match, scores["only articles"].f1) == (1.0, 0.0)
    assert (scores["missing"].exact_match, scores["missing"].f1) == (0.0, 0.0)


def test_version_1_is_torchmetrics_but_for_float32():
    gold = {name: answers for name, answers in GOLD.items() if name != "only articles"}  # there it follows version 2
    with pytest.warns(UserWarning):
        reference = torchmetrics_squad(
            [{"id": name, "prediction_text": text} for name, text in PREDICTIONS.items() if name in gold],
            [
                {"id": name, "answers": {"text": answers, "answer_start": [0] * len(answers)}}
                for name, answers in gold.items()
            ],
        )
    found = ours(gold, PREDICTIONS, unanswerable=False)
    assert 100 * found["exact_match"] == pytest.approx(float(reference["exact_match"]), rel=1e-6)
    assert 100 * found["f1"] == pytest.approx(float(reference["f1"]), rel=1e-6)


def test_version_2_on_questions_without_an_answer():
    gold = {**GOLD, "silent": [], "talks": [], "says the": []}
    predictions = {**PREDICTIONS, "silent": "", "talks": "something", "says the": "the"}
    found = ours(gold, predictions, unanswerable=True)
    assert found == pytest.approx(official_2(gold, predictions), abs=1e-15)
    assert found["no_answer_exact_match"] == found["no_answer_f1"] == pytest.approx(2 / 3)
    scores = answer_scores(predictions, gold, unanswerable=True)
    assert "missing" not in scores  # as the script: left out of the mean
    assert scores["only articles"].f1 == 1.0


words = st.sampled_from(
    [
        "the",
        "a",
        "an",
        "The",
        "A.",
        "film",
        "film,",
        "1976",
        "café",
        "—",
        "  ",
        "\t",
        "ten",
        "Theatre",
        "o'an",
        "\u2019",
    ]
)
texts = st.lists(words, max_size=5).map(" ".join) | st.text(max_size=12)


@settings(max_examples=150, deadline=None)
@given(texts)
def test_normalisation_is_the_scripts(text):
    assert normalized_answer(text) == official_normalize(text)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.lists(texts, min_size=1, max_size=3), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), texts),
)
def test_both_versions_are_the_scripts(gold, predictions):
    assert ours(gold, predictions, unanswerable=False) == pytest.approx(official_1(gold, predictions), abs=1e-12)
    if set(gold) & set(predictions):
        gold = {**gold, "a": []} if "a" in predictions else gold
        assert ours(gold, predictions, unanswerable=True) == pytest.approx(official_2(gold, predictions), abs=1e-12)


def test_no_prediction_at_all_is_no_division_by_zero():
    assert ours({"a": ["x"]}, {}, unanswerable=True) == {"exact_match": 0.0, "f1": 0.0}

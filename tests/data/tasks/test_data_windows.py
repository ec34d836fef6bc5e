"""Windows over long contexts: every token is in one, spans lead back to the words, as transformers' script has it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.questions import Question
from pruneofa.data.tasks.windows import encode_questions
from pruneofa.errors import ConfigurationError

WORDS = [
    "good",
    "bad",
    "film",
    "plot",
    "a",
    "the",
    "was",
    "is",
    "Zoë",
    "naïve",
    "Films,",
    "x-y",
    "...",
    "日本",
    "re\u0301sume\u0301",
]


def config_of(max_length=24, stride=6, max_question_length=6):
    settings = {"stride": stride, "max_question_length": max_question_length}
    return TaskConfig(train="t", evaluation="e", max_length=max_length, question_answering=settings)


def question_of(context, answer=None, start=None, text="was the film good", name="q"):
    if answer is None:
        return Question(name, text, context, (), (), "f:1")
    place = context.index(answer) if start is None else start
    return Question(name, text, context, (answer,), (place,), "f:1")


def reference_span(offsets, sequence, start_char, end_char):
    """The loops of transformers' run_qa.py."""
    token_start_index = 0
    while sequence[token_start_index] != 1:
        token_start_index += 1
    token_end_index = len(offsets) - 1
    while sequence[token_end_index] != 1:
        token_end_index -= 1
    if not (offsets[token_start_index][0] <= start_char and offsets[token_end_index][1] >= end_char):
        return 0, 0
    while token_start_index < len(offsets) and offsets[token_start_index][0] <= start_char:
        token_start_index += 1
    while offsets[token_end_index][1] >= end_char:
        token_end_index -= 1
    return token_start_index - 1, token_end_index + 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=60), st.data())
def test_spans_and_windows_are_transformers_scripts(bert_tokenizer, words, data):
    context = " ".join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(first + 3, len(words) - 1)))
    begin = len(" ".join(words[:first])) + (first > 0)
    answer = " ".join(words[first : last + 1])
    found = encode_questions([question_of(context, answer, begin)], bert_tokenizer, config_of())
    reference = bert_tokenizer(
        ["was the film good"], [context], truncation="only_second", max_length=24, stride=6,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    assert [ids.tolist() for ids in found.input_ids] == reference["input_ids"]
    assert [ids.tolist() for ids in found.token_type_ids] == reference["token_type_ids"]
    for window in range(len(found)):
        # A stray special token's offsets (0, 0) must not lead the script's loop out of the context.
        sequence, offsets = reference.sequence_ids(window), reference["offset_mapping"][window]
        bounded = [pair if kind == 1 else (10**9, -1) for pair, kind in zip(offsets, sequence, strict=True)]
        assert tuple(found.spans[window]) == reference_span(bounded, sequence, begin, begin + len(answer))


@pytest.mark.parametrize("name", ["bert_tokenizer", "roberta_tokenizer"])
def test_offsets_lead_back_to_the_text_and_windows_cover_it(request, name):
    context = " ".join(["good film"] * 30 + ["bad plot"] + ["the film"] * 5)
    tokenizer = request.getfixturevalue(name)
    found = encode_questions([question_of(context, "bad plot")], tokenizer, config_of())
    assert len(found) > 3 and set(found.question_of.tolist()) == {0}
    assert ("token_type_ids" in found[0]) == (name == "bert_tokenizer")
    covered = set()
    holding = 0
    for window, offsets in enumerate(found.offsets):
        first = found.context_begin[window]
        tokens = tokenizer.convert_ids_to_tokens(found.input_ids[window][first : first + len(offsets)])
        for token, (start, end) in zip(tokens, offsets, strict=True):
            assert context[start:end].lower() == token.removeprefix("##")
        covered |= {tuple(pair) for pair in offsets.tolist()}
        start, end = found.spans[window]
        if start:
            holding += 1
            assert context[offsets[start - first, 0] : offsets[end - first, 1]] == "bad plot"
    assert covered == {(place, place + len(word)) for place, word in places(context)}
    assert holding in (1, 2)
    assert found.lengths.max() <= 24


def places(text):
    position = 0
    for word in text.split():
        position = text.index(word, position)
        yield position, word
        position += len(word)


def test_examples_are_what_a_model_takes(bert_tokenizer):
    found = encode_questions(
        [question_of("the film was good", "film"), question_of("bad", name="r")], bert_tokenizer, config_of()
    )
    assert set(found[0]) == {"input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions"}
    assert found[0] == found[(3, 0)]
    assert (found[1]["start_positions"], found[1]["end_positions"]) == (0, 0)
    assert found.statistics() == {
        "examples": 2, "windows": 2, "truncated": 0, "mean_length": found.lengths.mean(), "longest": 11,
        "without_answer": 1,
    }  # fmt: skip
    assert found.gold_answers == {"q": ("film",), "r": ()}


def test_a_long_question_is_cut_at_a_token_and_counted(bert_tokenizer):
    found = encode_questions([question_of("the film", "film", text="  good " * 30)], bert_tokenizer, config_of())
    good = bert_tokenizer.convert_tokens_to_ids("good")
    assert found.input_ids[0].tolist().count(good) == 6
    assert found.truncated == 1


def test_an_empty_context_has_no_span(bert_tokenizer):
    found = encode_questions([question_of("")], bert_tokenizer, config_of())
    assert len(found) == 1 and found.offsets[0].shape == (0, 2)
    assert np.array_equal(found.spans, [[0, 0]])


def test_no_room_beside_the_question_is_told(bert_tokenizer):
    with pytest.raises(
        ConfigurationError,
        match=r"stride is 6, but max_length = 15 leaves 6 tokens for the context beside a question of max_question",
    ):
        encode_questions([question_of("film")], bert_tokenizer, config_of(max_length=15))

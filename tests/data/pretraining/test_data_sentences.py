import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pruneofa.data.pretraining.building import sentences as sentences_module
from pruneofa.data.pretraining.building.sentences import SENTENCE_MARK, mark_sentences, splitter_facts
from pruneofa.data.pretraining.building.text_encoder import TextEncoder
from pruneofa.data.tokenization import tokenizer_rules
from pruneofa.errors import ConfigurationError


def split(text, language="en"):
    return mark_sentences(text, language).split(SENTENCE_MARK)


def test_sentences_and_what_is_none():
    text = 'Dr. Smith paid $3.50 for it. "Really?" asked J. K. Rowling, e.g. twice. No!  Then he left.'
    assert split(text) == [
        "Dr. Smith paid $3.50 for it.",
        ' "Really?" asked J. K. Rowling, e.g. twice.',
        " No!",
        "  Then he left.",
    ]
    assert split("Das kostet z. B. 3 Euro. Gut.", "de") == ["Das kostet z. B. 3 Euro.", " Gut."]
    assert split("no end") == ["no end"]


@given(st.text(max_size=200) | st.text(alphabet="aB.!? \n\r\t\"'()é。\u2028\x85\xa0\u3000", max_size=200))
@example("\u2028B\u2028. \x85")  # a wide space before a full stop once stopped the process
@example("Plan B\xa0. Then C\u2029. D")
@settings(max_examples=300, deadline=None)
def test_nothing_of_a_text_is_lost(text):
    parts = split(text)
    assert "".join(parts) == text.replace(SENTENCE_MARK, " ").rstrip() or not text.strip()
    assert all(part.strip() for part in parts) or parts == [""]


@pytest.mark.parametrize(
    "pattern", ["a.", "(", "x", "He said ", ". ", '"', "Mr. ", "\n", "A. B. ", "?!", "[1] ", "e.g. "]
)
def test_splitting_is_linear_on_any_pattern(pattern):
    """Quadratic time would take a thousand times as long on the long text as on the short one, not about thirty."""

    def spent(repeats):
        text = pattern * repeats
        began = time.process_time()
        mark_sentences(text, "en")
        return time.process_time() - began

    short = min(spent(4_000) for _ in range(3))
    assert spent(128_000) < 300 * max(short, 1e-4)


def test_the_marks_leave_the_token_ids_as_they_are(bert_tokenizer):
    text = "The film was good. A bad plot, and very very bad. One of two films. Not three"
    encoder = TextEncoder(tokenizer_rules(bert_tokenizer))
    marked = mark_sentences(text, "en")
    tokens, ends = encoder.encode([marked, text])
    with_marks, without = tokens[: ends[0]], tokens[ends[0] :]
    assert (with_marks == encoder.mark).sum() == 3 and not (without == encoder.mark).any()
    assert with_marks[with_marks != encoder.mark].tolist() == without.tolist()
    assert without.tolist() == bert_tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_splitter_is_named_or_asked_for(monkeypatch):
    from importlib import metadata

    facts = splitter_facts("fr")
    assert facts["name"] == "sentencex" and facts["language"] == "fr" and facts["version"][0].isdigit()

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sentences_module.metadata, "version", missing)
    with pytest.raises(ConfigurationError, match=r"need the package 'sentencex'.*pip install 'pruneofa\[train\]'"):
        splitter_facts("en")

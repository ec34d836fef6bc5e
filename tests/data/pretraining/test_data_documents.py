"""What is a document, what is a sentence, and what is said where that looks wrong; faulty rows of large corpora."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from pruneofa.data.pretraining.building import text_encoder
from pruneofa.data.pretraining.building.sentences import SENTENCE_MARK, mark_sentences
from pruneofa.data.pretraining.building.text_encoder import TextEncoder
from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus, load_corpus
from pruneofa.data.tokenization import tokenizer_rules
from pruneofa.errors import ConfigurationError, DataError

WORDS = ["good", "bad", "film", "plot", "the", "was", "is", "very", "not", "of", "and", "one", "two", "three"]


def lines(count, seed=0):
    """Lines of words without a full stop."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(count)]


def build(source, tokenizer, folder, **settings):
    config = CorpusConfig(source=source, max_length=32, **settings)
    return build_corpus(config, tokenizer, folder, processes=1)


def test_each_line_may_be_a_document(write, bert_tokenizer, tmp_path, caplog):
    files = [write(f"{name}.txt", "\n".join(lines(60, seed))) for seed, name in enumerate("abcde")]
    assert build(files, bert_tokenizer, tmp_path / "blocks")["documents"] == 5
    assert "each of the 5 text files is one document, of 60 lines" in caplog.text
    assert "set corpus.line_end to document" in caplog.text
    caplog.clear()
    assert build(files, bert_tokenizer, tmp_path / "lines", line_end="document")["documents"] == 300
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def bert_file(documents, seed=0):
    """BERT's own format: a sentence a line, a blank line between documents."""
    return "\n\n".join("\n".join(lines(6, seed + number)) for number in range(documents))


def test_each_line_may_be_a_sentence(write, bert_tokenizer, tmp_path, caplog):
    source = write("bert.txt", bert_file(80))
    statistics = build(source, bert_tokenizer, tmp_path / "text", form="sentences")
    assert statistics["train"]["sentences"] == statistics["train"]["documents"]
    assert "documents have 6.0 lines, but 1.0 sentences: if each line is a sentence, set corpus.line_end" in caplog.text
    with pytest.raises(
        DataError, match=r"each of the 80 documents of .* has one sentence.*if each line is a sentence, s"
    ):
        build(source, bert_tokenizer, tmp_path / "pairs", form="pairs")
    caplog.clear()
    statistics = build(source, bert_tokenizer, tmp_path / "pairs", form="pairs", line_end="sentence")
    assert statistics["train"]["sentences"] == 6 * statistics["train"]["documents"]
    assert 0.35 < statistics["train"]["random_next"] / statistics["train"]["examples"] < 0.65
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    with pytest.raises(ConfigurationError, match="is blocks, which splits no sentences, but line_end is sentence; "):
        CorpusConfig(source=source, line_end="sentence")


def test_pairs_of_lone_sentences_are_an_error_and_mostly_lone_ones_a_warning(write, bert_tokenizer, tmp_path, caplog):
    lone = [{"text": line} for line in lines(500)]
    source = write("lone.jsonl", "\n".join(map(json.dumps, lone)))
    with pytest.raises(
        DataError, match=r"pairs, but each of the 500 documents .* has one sentence, .*set corpus\.form"
    ):
        build(source, bert_tokenizer, tmp_path / "pairs", form="pairs")
    assert not (tmp_path / "pairs").exists()
    longer = [{"text": ". ".join(line.capitalize() for line in lines(8, seed))} for seed in range(20)]
    source = write("mostly.jsonl", "\n".join(map(json.dumps, lone + longer)))
    build(source, bert_tokenizer, tmp_path / "mostly", form="pairs")
    assert "% of the pairs have a random second segment, not half: 96 % of the documents have one sen" in caplog.text


@pytest.mark.parametrize("text", ["One. Two\nthree. Four\n\n\n five \r\nsix.", "one", "One.\nTwo.", "a\u2028b\nc"])
def test_a_line_s_end_ends_a_sentence_and_nothing_else_changes(text):
    marked = mark_sentences(text, "en", by_line=True)
    assert marked.replace(SENTENCE_MARK, "") == text
    for sentence in marked.split(SENTENCE_MARK):
        assert "\n" not in sentence.strip()
    assert marked.count(SENTENCE_MARK) >= mark_sentences(text, "en").count(SENTENCE_MARK)


@pytest.mark.parametrize("by_table", [True, False])
def test_a_word_of_any_length_gets_the_tokenizer_s_own_ids(by_table, bert_tokenizer, monkeypatch):
    monkeypatch.setattr(text_encoder, "_PIECE_CHARACTERS", 50)
    rules = tokenizer_rules(bert_tokenizer)
    plain = Tokenizer.from_str(rules)
    plain.no_padding()  # which other calls of the same tokenizer leave behind
    plain.no_truncation()
    texts = [
        "good " + "a" * 300 + " film", "b" * 120, "a " + "." * 130 + " b", "good film " * 40, "one" + " " * 90 + "two",
        "c" * 49 + " " + "d" * 99 + "  " + "e" * 101, "good\n" * 60, " ".join(["plot"] * 30) + "\n\n" + "f" * 200,
    ]  # fmt: skip
    tokens, ends = TextEncoder(rules, by_table=by_table).encode(texts)
    expected = [plain.encode(text, add_special_tokens=False).ids for text in texts]
    assert [part.tolist() for part in np.split(tokens, ends[1:-1] if ends[0] == 0 else ends[:-1])] == expected


FAULTY = ["broken", '{"text": 5}', '{"text": NaN}', '{"other": "x"}', '{"text": "half \\ud83d"}']


def test_faulty_rows_are_left_out_counted_and_listed_where_that_is_asked_for(write, bert_tokenizer, tmp_path, caplog):
    good = [json.dumps({"text": line}) for line in lines(200)]
    clean, faulty = list(good), list(good)
    for place, line in zip((10, 60, 90, 150, 151), FAULTY, strict=True):
        faulty.insert(place, line)
    source = write("faulty.jsonl", "\n".join(faulty).encode() + b'\n{"text": "na\xefve"}')
    settings = {"shard_characters": 1000, "validation_fraction": 0.1}
    with pytest.raises(DataError, match=r"faulty\.jsonl:11: broken JSON .*pass --on_error drop \(corpus\.on_error\)"):
        build(source, bert_tokenizer, tmp_path / "out", **settings)
    statistics = build(source, bert_tokenizer, tmp_path / "out", on_error="drop", **settings)
    assert statistics["documents"] == 200 and statistics["dropped_broken"] == 6
    assert caplog.text.count("corpus: left out: ") == 5 and "faulty.jsonl:11: broken JSON" in caplog.text
    expected = build(write("clean.jsonl", "\n".join(clean)), bert_tokenizer, tmp_path / "clean", **settings)
    tokens = [statistics[split]["tokens"] for split in ("train", "validation")]
    assert tokens == [expected[split]["tokens"] for split in ("train", "validation")]
    numbers = {number for row in load_corpus(tmp_path / "out", bert_tokenizer)["train"] for number in row["documents"]}
    assert max(numbers) > 200 and not numbers & {10, 60}  # rows that are left out count


def test_a_row_without_text_is_left_out_in_any_case(write, bert_tokenizer, tmp_path):
    source = write("a.jsonl", '{"text": null}\n' + "\n".join(json.dumps({"text": line}) for line in lines(20)))
    assert build(source, bert_tokenizer, tmp_path / "out")["dropped_empty"] == 1

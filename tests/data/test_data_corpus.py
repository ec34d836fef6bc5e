import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pruneofa.data import corpus as corpus_module
from pruneofa.data.corpus import CorpusConfig, build_corpus, load_corpus
from pruneofa.data.packing import pack_blocks
from pruneofa.data.randomness import Purpose, generator
from pruneofa.data.tokenization import tokenizer_hash
from pruneofa.errors import DataError

START, END = 1, 2


def pack(documents, max_length, seed=0):
    arrays = [np.array(document, dtype=np.int32) for document in documents]
    return pack_blocks(arrays, max_length=max_length, start=START, end=END, generator=generator(Purpose.PACKING, seed))


@given(
    st.lists(st.lists(st.integers(3, 50), min_size=1, max_size=40), min_size=1, max_size=60),
    st.integers(8, 24),
)
@settings(max_examples=100, deadline=None)
def test_packing_keeps_every_token_and_every_short_document(documents, max_length):
    blocks = [block.tolist() for block in pack(documents, max_length)]
    pieces = []
    for block in blocks:
        assert 3 <= len(block) <= max_length and block[0] == START and block[-1] == END
        inner = []
        for token in block[1:]:
            if token == END:
                pieces.append(tuple(inner))
                inner = []
            else:
                inner.append(token)
    window = max_length - 2
    expected = [tuple(doc[i : i + window]) for doc in documents for i in range(0, len(doc), window)]
    assert Counter(pieces) == Counter(expected)


def test_packing_is_dense_pure_and_shuffled():
    lengths = np.random.default_rng(0).integers(5, 60, 3000)
    documents = [np.full(length, number + 3) for number, length in enumerate(lengths)]
    blocks = pack(documents, 128)
    assert np.mean([len(block) for block in blocks]) > 0.98 * 128
    again = pack(documents, 128)
    assert all(np.array_equal(a, b) for a, b in zip(blocks, again, strict=True))
    other = pack(documents, 128, seed=1)
    assert len(other) != len(blocks) or any(not np.array_equal(a, b) for a, b in zip(blocks, other, strict=True))
    firsts = [int(block[1]) for block in blocks]
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.15


@pytest.fixture
def source(write):
    vocabulary = ["good", "bad", "film", "plot", "the", "was", "is", "very", "not", "of", "and", "one", "two", "three"]
    random = np.random.default_rng(3)
    documents = [" ".join(random.choice(vocabulary, random.integers(1, 45))) for _ in range(400)]
    lines = [json.dumps({"text": text}) for text in [*documents, "", None, "  ", "é☃ good"]]
    return write("docs.jsonl", "\n".join(lines))


def test_a_corpus_is_written_and_read_back(source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, max_length=32, validation_fraction=0.1)
    statistics = build_corpus(config, bert_tokenizer, tmp_path / "out", model_max_length=32)
    loaded = load_corpus(tmp_path / "out", bert_tokenizer)
    assert statistics["documents"] == 401 and statistics["dropped_empty"] == 3
    assert 20 < statistics["validation"]["documents"] < 65
    tokens: Counter[int] = Counter()
    for name, split in loaded.items():
        assert len(split) == statistics[name]["blocks"]
        assert split["length"][:] == [len(ids) for ids in split["input_ids"]]
        assert max(split["length"]) <= 32
        assert statistics[name]["mean_length"] == pytest.approx(np.mean(split["length"][:]))
        inner = [token for ids in split["input_ids"] for token in ids if token not in (2, 3)]
        assert len(inner) == statistics[name]["tokens"]
        tokens.update(inner)
    texts = [json.loads(line)["text"] or "" for line in Path(source).read_text().splitlines()]
    assert tokens == Counter(t for ids in bert_tokenizer(texts, add_special_tokens=False)["input_ids"] for t in ids)
    assert statistics["train"]["unknown_tokens"] + statistics["validation"]["unknown_tokens"] == 1
    record = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert record["statistics"] == statistics and record["settings"] == config.model_dump()
    assert record["source"][0]["file"] == source


def test_the_files_are_a_function_of_source_settings_and_tokenizer(source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, max_length=32)
    for name in ("one", "two"):
        build_corpus(config, bert_tokenizer, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 7
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_bos_and_eos_frame_the_blocks_of_a_roberta_like_tokenizer(source, roberta_tokenizer, tmp_path):
    build_corpus(CorpusConfig(source=source, max_length=16), roberta_tokenizer, tmp_path / "out")
    train = load_corpus(tmp_path / "out", roberta_tokenizer)["train"]
    start, end = roberta_tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    assert all(ids[0] == start and ids[-1] == end for ids in train["input_ids"])


def test_copies_of_a_document_are_on_one_side(write, bert_tokenizer, tmp_path):
    path = write("docs.jsonl", "\n".join(json.dumps({"text": text}) for text in ["good film", "bad plot"] * 50))
    statistics = build_corpus(CorpusConfig(source=path, max_length=8), bert_tokenizer, tmp_path / "out")
    assert statistics["validation"]["documents"] == 50  # the fraction asks for 2, but copies stay together
    sides = [
        {i for ids in split["input_ids"] for i in ids}
        for split in load_corpus(tmp_path / "out", bert_tokenizer).values()
    ]
    assert sides[0] & sides[1] == {2, 3}


def test_without_validation(source, bert_tokenizer, tmp_path):
    build_corpus(CorpusConfig(source=source, validation_fraction=0), bert_tokenizer, tmp_path / "out")
    assert list(load_corpus(tmp_path / "out", bert_tokenizer)) == ["train"]


def test_errors_of_building(write, source, bert_tokenizer, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        DataError, match="max_length is 64, but the model takes at most 32 tokens; set max_length to 32"
    ):
        build_corpus(CorpusConfig(source=source, max_length=64), bert_tokenizer, out, model_max_length=32)
    with pytest.raises(DataError, match=r"docs\.jsonl:1: no column 'txt'; columns found: 'text'; did you mean 'text'"):
        build_corpus(CorpusConfig(source=source, text_column="txt"), bert_tokenizer, out)
    with pytest.raises(DataError, match="holds no text: 1 documents are empty"):
        build_corpus(CorpusConfig(source=write("e.jsonl", '{"text": ""}')), bert_tokenizer, out)
    with pytest.raises(DataError, match="1 documents, none of which is left for training"):
        build_corpus(CorpusConfig(source=write("one.txt", "good film")), bert_tokenizer, out)
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_a_failed_write_leaves_the_old_corpus(source, bert_tokenizer, tmp_path, monkeypatch):
    build_corpus(CorpusConfig(source=source, max_length=32), bert_tokenizer, tmp_path / "out")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpus_module, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        build_corpus(CorpusConfig(source=source, max_length=16), bert_tokenizer, tmp_path / "out")
    assert max(load_corpus(tmp_path / "out", bert_tokenizer)["train"]["length"]) > 16
    assert not list(tmp_path.glob(".out*"))


def test_another_tokenizers_corpus_is_refused(source, bert_tokenizer, roberta_tokenizer, tmp_path):
    build_corpus(CorpusConfig(source=source), bert_tokenizer, tmp_path / "out")
    with pytest.raises(DataError, match=r"was made with another tokenizer .*build the corpus again"):
        load_corpus(tmp_path / "out", roberta_tokenizer)


def test_the_hash_ignores_truncation_and_padding_and_survives_saving(bert_tokenizer, tmp_path):
    before = tokenizer_hash(bert_tokenizer)
    bert_tokenizer(["good film", "a"], truncation=True, max_length=3, padding="max_length")
    assert bert_tokenizer.backend_tokenizer.truncation is not None
    assert tokenizer_hash(bert_tokenizer) == before
    bert_tokenizer.save_pretrained(tmp_path)
    assert tokenizer_hash(type(bert_tokenizer).from_pretrained(tmp_path)) == before


def test_damaged_corpora(source, bert_tokenizer, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"is no corpus folder: corpus\.json can't be read"):
        load_corpus(out, bert_tokenizer)
    build_corpus(CorpusConfig(source=source), bert_tokenizer, out)
    good = (out / "corpus.json").read_text()
    for bad, message in [
        ("{", "is damaged"),
        ("[]", "is not of the form"),
        (good.replace("pruneofa-corpus-1", "other"), "is not of the form 'pruneofa-corpus-1'"),
        (good.replace('"blocks":', '"block":'), "is not of the form"),
        (good.replace('"blocks": ', '"blocks": 9'), r"is not what corpus\.json says"),
    ]:
        (out / "corpus.json").write_text(bad)
        with pytest.raises(DataError, match=message):
            load_corpus(out, bert_tokenizer)
    (out / "corpus.json").write_text(good)
    arrow = next((out / "train").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:50])
    with pytest.raises(DataError, match="train is damaged"):
        load_corpus(out, bert_tokenizer)
    shutil.rmtree(out / "train")
    with pytest.raises(DataError, match="train is damaged"):
        load_corpus(out, bert_tokenizer)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"source": ""}, "source"),
        ({"source": []}, "source"),
        ({"source": "a", "max_length": 7}, "max_length"),
        ({"source": "a", "validation_fraction": 0.6}, "validation_fraction"),
        ({"source": "a", "seed": -1}, "seed"),
        ({"source": "a", "sead": 1}, "sead"),
    ],
)
def test_settings_are_checked(values, field):
    with pytest.raises(ValidationError) as caught:
        CorpusConfig(**values)
    assert {error["loc"][0] for error in caught.value.errors()} == {field}

import numpy as np
import pytest

from pruneofa.data.pretraining.building import token_shards
from pruneofa.data.pretraining.building.token_shards import (
    TokenReader,
    TokenShard,
    read_hashes,
    read_token_shard,
    shard_facts,
    write_token_shard,
)


def random_shard(seed):
    random = np.random.default_rng(seed)
    sentences = np.cumsum([0, *random.integers(1, 9, 30)])
    documents = np.sort(random.choice(np.arange(1, 30), 6, replace=False))
    documents = np.concatenate([[0], documents, [30]])
    count = len(documents) - 1
    hashes = random.integers(0, 2**63, count)
    return TokenShard(
        documents, sentences, np.arange(count) + 7, hashes, random.integers(0, 2**31, sentences[-1], np.int32)
    )


def test_what_is_written_is_read_whole_and_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(token_shards, "_OPEN_FILES", 2)
    shards = [random_shard(seed) for seed in range(5)]
    paths = [tmp_path / f"{index}.bin" for index in range(5)]
    for path, shard in zip(paths, shards, strict=True):
        write_token_shard(path, shard, {"origin": "here"})
    facts = [shard_facts(path) for path in paths]
    reader = TokenReader(paths, facts)
    for index in (0, 4, 1, 3, 0, 2):
        shard, read = shards[index], read_token_shard(paths[index], facts[index])
        assert facts[index]["origin"] == "here" and facts[index]["sentences"] == 30
        for name in ("documents", "sentences", "numbers", "hashes", "tokens"):
            assert np.array_equal(getattr(read, name), getattr(shard, name)), name
        assert np.array_equal(read_hashes(paths[index], facts[index]), shard.hashes)
        for document in range(len(shard.numbers)):
            assert reader.text_hash(index, document) == shard.hashes[document]
            assert reader.number(index, document) == shard.numbers[document]
            first, last = reader.sentence_range(index, document)
            assert (first, last) == (shard.documents[document], shard.documents[document + 1])
            offsets = reader.sentence_offsets(index, first, last - first)
            assert np.array_equal(offsets, shard.sentences[first : last + 1])
            begin, end = int(offsets[0]), int(offsets[-1])
            assert np.array_equal(reader.tokens(index, begin, end - begin), shard.tokens[begin:end])
    assert len(reader._open) == 2
    reader.close()


def test_an_empty_shard(tmp_path):
    empty = np.zeros(0, dtype=np.int64)
    write_token_shard(tmp_path / "0.bin", TokenShard(np.zeros(1), np.zeros(1), empty, empty, empty), {})
    facts = shard_facts(tmp_path / "0.bin")
    assert facts == {"documents": 0, "sentences": 0, "tokens": 0}
    assert len(read_token_shard(tmp_path / "0.bin", facts).tokens) == 0


@pytest.mark.parametrize("damage", ["short", "long", "no file", "no facts", "broken facts", "other facts"])
def test_a_shard_that_is_not_whole_is_none(damage, tmp_path):
    path = tmp_path / "0.bin"
    write_token_shard(path, random_shard(0), {})
    assert shard_facts(path) is not None
    held, facts = path.read_bytes(), tmp_path / "0.json"
    if damage in ("short", "long"):
        path.write_bytes(held[:-1] if damage == "short" else held + b"x")
    elif damage == "broken facts":
        facts.write_text(facts.read_text()[:-4])
    elif damage == "other facts":
        facts.write_text("{}")
    else:
        (path if damage == "no file" else facts).unlink()
    assert shard_facts(path) is None

import itertools
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from pruneofa.data.pretraining.building import word_table
from pruneofa.data.pretraining.building.sentences import SENTENCE_MARK
from pruneofa.data.pretraining.building.text_encoder import TextEncoder
from pruneofa.data.pretraining.building.word_table import WordTable, tokenizes_word_by_word

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCéÉßİ中文0123456789.,:;()\"'/-!?[]_#$\u0301\u0308"
_SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(**normalizer):
    entries = dict.fromkeys([*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), "film", "##ing", "the"])
    made = Tokenizer(models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(**normalizer)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([AddedToken(token, lstrip=token == "[MASK]") for token in _SPECIAL])
    return made


KINDS = [
    tokenizer(),
    tokenizer(lowercase=False),
    tokenizer(lowercase=False, strip_accents=True),
    tokenizer(clean_text=False, handle_chinese_chars=False),
]
# Every kind of character that some rule treats in its own way: white space, controls, marks that join what is before
# them, letters that change their length in lower case, ideographs, both kinds of punctuation.
STRANGE = (
    "aAfilmthe .,:;()\"'/-!?[]_#$ \n\r\t\x0b\x0c\x1c\x85\xa0\u3000\u2028\u200b\u200d\u0301\u0308\u0345"
    f"éÉßİſΣ中文가각ﬁ„“\u2013…\ufffd\x00\x01{SENTENCE_MARK}😀"
)


@given(
    st.lists(
        st.text(max_size=60)
        | st.text(alphabet=STRANGE, max_size=60)
        | st.lists(st.sampled_from([*_SPECIAL, *STRANGE, "film", "filming", " ", " "]), max_size=20).map("".join),
        max_size=6,
    ),
    st.sampled_from(range(len(KINDS))),
)
@example(["a [MASK] . [SEP]film[CLS]", "", " ", "x" * 120], 0)
@example(["e\u0301. \u0301 .\u0301a", f"a.{SENTENCE_MARK} b{SENTENCE_MARK}"], 1)
@settings(max_examples=400, deadline=None)
def test_ids_are_those_of_the_tokenizer(texts, kind):
    rules = KINDS[kind].to_str()
    assert tokenizes_word_by_word(rules)
    by_table, plain = TextEncoder(rules), TextEncoder(rules, by_table=False)
    for _ in range(2):  # the second time every word is known
        tokens, ends = by_table.encode(texts)
        wanted, wanted_ends = plain.encode(texts)
        assert np.array_equal(tokens, wanted) and np.array_equal(ends, wanted_ends)
        assert (tokens.dtype, ends.dtype) == (wanted.dtype, wanted_ends.dtype)


def changed(**parts):
    return json.dumps({**json.loads(KINDS[0].to_str()), **parts})


def with_added(token):
    made = tokenizer()
    made.add_tokens([token])
    return made.to_str()


@pytest.mark.parametrize(
    "rules",
    [
        changed(pre_tokenizer={"type": "ByteLevel"}),
        changed(pre_tokenizer=None),
        changed(normalizer={"type": "Replace", "pattern": {"String": " "}, "content": ""}),
        changed(model={"type": "BPE"}),
        with_added(AddedToken("new york", normalized=False)),
        with_added(AddedToken("e.g", normalized=False)),
        with_added(AddedToken("film", normalized=False, single_word=True)),
        with_added(AddedToken("film", normalized=True)),
    ],
)
def test_a_tokenizer_that_may_look_beyond_words_gets_whole_texts(rules):
    assert not tokenizes_word_by_word(rules)


def test_a_token_with_a_space_is_found_all_the_same():
    rules = with_added(AddedToken("new york", normalized=False))
    encoder = TextEncoder(rules)
    tokens, _ = encoder.encode(["a new york film"])
    assert tokens.tolist() == Tokenizer.from_str(rules).encode("a new york film", add_special_tokens=False).ids


def test_each_word_is_tokenised_once_and_the_table_stays_small(monkeypatch):
    asked = []

    def encode(words):
        asked.extend(words)
        ids = [[ord(letter) for letter in word] for word in words]
        flat = np.array(list(itertools.chain.from_iterable(ids)), dtype=np.int32)
        return flat, np.array([len(each) for each in ids], dtype=np.int64)

    table = WordTable(encode)
    tokens, lengths = table.encode(["one two", "", "two, two\none"])
    assert "".join(map(chr, tokens)) == "onetwotwo,twoone" and lengths.tolist() == [6, 0, 10]
    assert sorted(asked) == ["", ",", "one", "two"]
    table.encode(["two one three"])
    assert sorted(asked) == ["", ",", "one", "three", "two"]
    monkeypatch.setattr(word_table, "_MOST_TOKENS", 3)
    tokens, lengths = table.encode(["one"])  # the table was full, so it begins anew
    assert asked[-1] == "one" and asked.count("one") == 2
    assert "".join(map(chr, tokens)) == "one" and lengths.tolist() == [3]
    assert [len(array) for array in table.encode([])] == [0, 0]

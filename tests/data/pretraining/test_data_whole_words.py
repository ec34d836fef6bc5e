import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset, masked_example
from pruneofa.data.pretraining.whole_words import continuation_mask
from pruneofa.errors import DataError


def byte_level(text_vocabulary):
    tokens = ["<s>", "</s>", "<mask>", *text_vocabulary]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", mask_token="<mask>", unk_token=None
    )


def continuing(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return {token for token, goes_on in zip(tokens, continuation_mask(tokenizer), strict=True) if goes_on}


def test_word_pieces(bert_tokenizer):
    tokens = bert_tokenizer.convert_ids_to_tokens(list(range(len(bert_tokenizer))))
    assert continuing(bert_tokenizer) == {token for token in tokens if token.startswith("##")}


def test_byte_level_pieces():
    tokenizer = byte_level(["\u0120the", "the", "ing", ",", "\u0120,", "\u010a", "'s", "9", "\u00c3\u00a9", "\u0120"])
    assert continuing(tokenizer) == {"the", "ing", "9", "\u00c3\u00a9"}


def test_sentencepiece_pieces():
    tokens = ["<unk>", "<mask>", "\u2581the", "ing", ",", "\u2581", "é"]
    backend = Tokenizer(models.Unigram([(token, -1.0) for token in tokens], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", mask_token="<mask>")
    assert continuing(tokenizer) == {"ing", "é"}


def test_a_tokenizer_that_does_not_show_words():
    backend = Tokenizer(models.WordLevel({"a": 0, "<mask>": 1}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>")
    with pytest.raises(DataError, match=r"\(WordLevel\) doesn't show where words begin; set masking to tokens"):
        continuation_mask(tokenizer)


VOCABULARY = 100
SPECIAL = np.arange(VOCABULARY) < 5
GOES_ON = np.arange(VOCABULARY) >= 60


def mask(ids, index=0, probability=0.15):
    return masked_example(
        np.asarray(ids), SPECIAL, mask_id=4, vocabulary_size=VOCABULARY, seed=3, epoch=1, index=index,
        probability=probability, goes_on=GOES_ON,
    )  # fmt: skip


def words_of(ids):
    words: list[list[int]] = []
    for position, token in enumerate(ids):
        if SPECIAL[token]:
            continue
        if words and GOES_ON[token] and position and words[-1][-1] == position - 1:
            words[-1].append(position)
        else:
            words.append([position])
    return words


@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=80), st.integers(0, 2**40), st.floats(0.01, 0.9))
@settings(max_examples=200, deadline=None)
def test_words_are_chosen_whole_or_not_at_all(ids, index, probability):
    masked, labels = mask(ids, index, probability)
    chosen = labels != -100
    words = words_of(ids)
    for word in words:
        assert len({bool(chosen[position]) for position in word}) == 1
    assert chosen.any() == bool(words) and not chosen[SPECIAL[ids]].any()
    assert np.array_equal(labels[chosen], np.array(ids)[chosen])
    assert np.array_equal(masked[~chosen], np.array(ids)[~chosen])


def test_rates_of_whole_words():
    random = np.random.default_rng(0)
    tokens = words = chosen_words = hidden = chosen = 0
    for index in range(600):
        ids = random.integers(5, VOCABULARY, 120)
        masked, labels = mask(ids, index)
        found = words_of(ids)
        words += len(found)
        chosen_words += sum(labels[word[0]] != -100 for word in found)
        chosen += (labels != -100).sum()
        hidden += ((labels != -100) & (masked == 4)).sum()
        tokens += len(ids)
    for count, total, rate in [(chosen_words, words, 0.15), (hidden, chosen, 0.8 + 0.1 / VOCABULARY)]:
        low, high = binom.interval(1 - 1e-6, total, rate)
        assert low <= count <= high
    assert 0.14 < chosen / tokens < 0.16


def test_the_dataset_masks_whole_words(bert_tokenizer):
    ids = bert_tokenizer("zzz good yyy bad xxx film www plot")["input_ids"]
    data = MaskedLanguageModelDataset([{"input_ids": ids}] * 50, bert_tokenizer, 0, 0.3, "whole_words")
    pieces = [[1, 2, 3], [4], [5, 6, 7], [8], [9, 10, 11], [12], [13, 14, 15], [16]]
    for index in range(50):
        chosen = {position for position, label in enumerate(data[index]["labels"]) if label != -100}
        assert chosen and all(chosen >= set(word) or not chosen & set(word) for word in pieces)
    assert (
        data[2, 7] == MaskedLanguageModelDataset([{"input_ids": ids}] * 50, bert_tokenizer, 0, 0.3, "whole_words")[2, 7]
    )

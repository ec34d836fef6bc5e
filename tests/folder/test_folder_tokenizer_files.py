"""A folder's tokenizer files mean what they mean to transformers."""

import json

import pytest
from odd_folders import NEW_TOKEN_EDITS, TOKENIZER_EDITS, change, random_texts, write_vocabulary
from tokenizers import pre_tokenizers

from pruneofa.errors import CheckpointError
from pruneofa.folder.files import FolderFiles
from pruneofa.folder.tokenizer_files import read_text_rules

CONFIG = {"model_type": "bert", "architectures": ["BertModel"]}
TEXTS = random_texts(60)


def written(folder, edit=None, family="bert"):
    write_vocabulary(folder, family)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    if edit is not None:
        edit(folder)
    return folder


def assert_same(folder):
    from transformers import AutoTokenizer

    reference, rules = AutoTokenizer.from_pretrained(folder), read_text_rules(FolderFiles(folder))
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    for items, given in ((TEXTS, (TEXTS,)), (pairs, list(map(list, zip(*pairs, strict=True))))):
        expected = reference(*given, return_token_type_ids=True, return_offsets_mapping=True)
        found = rules.tokenizer.encode_batch(items)
        assert [one.ids for one in found] == expected["input_ids"]
        assert [one.type_ids for one in found] == expected["token_type_ids"]
        assert [one.offsets for one in found] == expected["offset_mapping"]
    assert rules.truncation_side == reference.truncation_side
    assert (rules.max_length or 10**30) == min(reference.model_max_length, 10**30)
    assert rules.token_types == ("token_type_ids" in reference.model_input_names)
    assert rules.special_tokens.get("pad_token") == reference.pad_token


@pytest.mark.parametrize("edit", [*TOKENIZER_EDITS, *NEW_TOKEN_EDITS])
def test_ids_types_and_offsets_are_those_of_transformers(tmp_path, edit):
    assert_same(written(tmp_path / "model", (TOKENIZER_EDITS | NEW_TOKEN_EDITS)[edit]))


@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
def test_families(tmp_path, family):
    assert_same(written(tmp_path / "model", family=family))


def _save_tokenizer(folder, family):
    from transformers import CamembertTokenizer, RobertaTokenizer, XLMRobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if family == "roberta":  # bytes, and a few merges of them
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        pieces = ["th", "the", "Ġc", "at", "Ġcat", "fi", "lm"]
        merges = [("t", "h"), ("th", "e"), ("Ġ", "c"), ("a", "t"), ("Ġc", "at"), ("f", "i"), ("l", "m")]
        vocabulary = {word: number for number, word in enumerate([*special, *letters, *pieces, "<mask>"])}
        made = RobertaTokenizer(vocab=vocabulary, merges=merges)
    else:
        pieces = [(piece, -4.0) for piece in ("▁the", "▁cat", "▁", "s", "▁film", "▁good", "in", "g", "▁中", "é")]
        pieces += [(letter, -8.0) for letter in "abcdefhijklmnopqrtuvwxyzTCF"]
        kind = XLMRobertaTokenizer if family == "xlm-roberta" else CamembertTokenizer
        made = kind(vocab=[(word, 0.0) for word in special] + pieces + [("<mask>", 0.0)])
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert"])
def test_families_of_bytes_and_of_unigrams(tmp_path, family):
    _save_tokenizer(tmp_path, family)
    assert_same(tmp_path)
    rules = read_text_rules(FolderFiles(tmp_path))
    pair = rules.tokenizer.encode("the cat", "good film")
    between = [token for token in pair.tokens[1:-1] if token in ("<s>", "</s>")]
    assert between == ["</s>", "</s>"] and set(pair.type_ids) == {0} and not rules.token_types


def test_a_class_for_another_family(tmp_path):
    folder = written(tmp_path / "model")
    change(folder, "tokenizer_config.json", tokenizer_class="MPNetTokenizer", cls_token="[CLS]", sep_token="[SEP]")
    assert_same(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"truncation_side": "top"}, "truncation_side is 'top', allowed are 'right' and 'left'"),
        ({"model_max_length": "long"}, "model_max_length is 'long', allowed is a whole number"),
        ({"cls_token": 7}, "the special token 7 is no text"),
        ({"unk_token": "[NONE]"}, r"the unknown token '\[NONE\]' is not in the vocabulary"),
    ],
)
def test_values_that_mean_nothing(tmp_path, values, message):
    folder = written(tmp_path / "model")
    change(folder, "tokenizer_config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        read_text_rules(FolderFiles(folder))


def test_files_that_are_missing_or_broken(tmp_path):
    folder = written(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is no tokenizer"):
        read_text_rules(FolderFiles(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"vocab.txt is not UTF-8"):
        read_text_rules(FolderFiles(folder))
    (folder / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"holds neither tokenizer.json nor vocab.txt"):
        read_text_rules(FolderFiles(folder))
    change(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(CheckpointError, match=r"holds no tokenizer.json"):
        read_text_rules(FolderFiles(folder))

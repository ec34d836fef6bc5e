"""Tokenizers made on the spot, so that these tests need no model from anywhere."""

import importlib.util
import string

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ["good", "bad", "film", "plot", "a", "the", "was", "is", "very", "not", "of", "and", "one", "two", "three"]


def _fast_tokenizer(start: str, end: str, unknown: str, pad: str, mask: str, words: list[str]) -> Tokenizer:
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    entries = dict.fromkeys([pad, unknown, start, end, mask, *words, *letters])
    tokenizer = Tokenizer(models.WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(start, tokenizer.token_to_id(start)), (end, tokenizer.token_to_id(end))],
    )
    return tokenizer


@pytest.fixture(scope="session")
def bert_tokenizer():
    backend = _fast_tokenizer("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]", WORDS)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def roberta_tokenizer():
    """Opens with <s>, closes with </s>, no token types; no cls/sep names, only bos/eos."""
    backend = _fast_tokenizer("<s>", "</s>", "<unk>", "<pad>", "<mask>", WORDS[::-1])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture
def write(tmp_path):
    """Write a file below the test's folder and return its path as a string."""

    def _write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return _write


def pytest_runtest_setup(item):
    for marker in item.iter_markers("needs_package"):
        if importlib.util.find_spec(marker.args[0]) is None:
            pytest.skip(f"the package {marker.args[0]} with the demo's files is not installed")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_package(name): reads files of an installed package")

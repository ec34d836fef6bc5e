"""Model folders of tiny random models that say something unusual, and texts to try them on."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = [
    *("the", "cat", "sat", "on", "a", "mat", "##s", "##ing", "run", "dog", "not", "good", "bad", "film", "no", "yes"),
    *("Cat", "Dog", "The", "café", "cafe", "élan", "elan", "中", "文", ".", ",", "!", "?", "x", "##y", "z", "A", "B"),
]
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
MPNET_WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", *WORDS]
POSITIONS = 48


def random_texts(count: int, longest: int = 60, seed: int = 0) -> list[str]:
    """Texts of the words above, some unknown, with capitals, accents, Chinese characters and special tokens."""
    rng = random.Random(seed)
    words = [word.removeprefix("##") for word in WORDS] + ["cats", "running", "CAFÉ", "[SEP]", "unheard", "中文", "New"]
    return [" ".join(rng.choices(words, k=rng.randint(1, longest))) for _ in range(count)]


def write_vocabulary(folder: Path, family: str = "bert", **settings: Any) -> None:
    """Write tokenizer.json, tokenizer_config.json and vocab.txt as transformers saves them."""
    from transformers import BertTokenizer, MPNetTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    words = MPNET_WORDS if family == "mpnet" else BERT_WORDS
    kind = MPNetTokenizer if family == "mpnet" else BertTokenizer
    kind(vocab={word: number for number, word in enumerate(words)}, **settings).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def write_model(
    folder: Path,
    *,
    family: str = "bert",
    head: str = "ForSequenceClassification",
    positions: int = POSITIONS,
    seed: int = 0,
    **config: Any,
) -> None:
    """Write a tiny random model with a tokenizer."""
    import torch
    import transformers

    sizes = {"vocab_size": len(WORDS) + 5, "max_position_embeddings": positions, "initializer_range": 0.3}
    if family == "distilbert":
        sizes |= {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    else:
        sizes |= {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    name = {"bert": "Bert", "distilbert": "DistilBert", "mpnet": "MPNet"}[family]
    torch.manual_seed(seed)
    settings = getattr(transformers, f"{name}Config")(**(sizes | {"num_labels": 3} | config))
    getattr(transformers, name + head)(settings).save_pretrained(folder)
    write_vocabulary(folder, family)


def change(folder: Path, name: str, **values: Any) -> None:
    """Set keys of a JSON file; a key of None is taken out."""
    path = folder / name
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    held |= values
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}), encoding="utf-8")


def _json(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        held = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        for key, value in values.items():
            inner = held
            *path, last = key.split("__")
            for part in path:
                inner = inner[part]
            inner[last] = value
        (folder / "tokenizer.json").write_text(json.dumps(held), encoding="utf-8")

    return edit


def _config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder, "tokenizer_config.json", **values)


def _without(*names: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return edit


def _both(*edits: Callable[[Path], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for one in edits:
            one(folder)

    return edit


_NEW = {"content": "New", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}

TOKENIZER_EDITS: dict[str, Callable[[Path], None]] = {
    "as saved": _both(),
    "cut on the left": _config(truncation_side="left"),
    "cut on the left by tokenizer.json": _json(
        truncation={"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    ),
    "padded by tokenizer.json": _json(
        padding={
            **{"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None},
            **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        }
    ),
    "a short length": _config(model_max_length=12),
    "no limit of length": _config(model_max_length=10**30),
    "no template": _json(post_processor=None),
    "no template, taken as it is": _both(
        _json(post_processor=None), _config(tokenizer_class="PreTrainedTokenizerFast")
    ),
    "taken as it is": _config(tokenizer_class="TokenizersBackend"),
    "an unknown class": _config(tokenizer_class="OwnTokenizer"),
    "DistilBERT's class": _config(tokenizer_class="DistilBertTokenizer"),
    "DistilBERT's fast class": _config(tokenizer_class="DistilBertTokenizerFast"),
    "no class": _config(tokenizer_class=None),
    "input names": _config(model_input_names=["input_ids", "attention_mask"]),
    "cased": _config(do_lower_case=False),
    "cased in tokenizer.json alone": _json(normalizer__lowercase=False),
    "cased in tokenizer.json, taken as it is": _both(
        _json(normalizer__lowercase=False), _config(tokenizer_class="TokenizersBackend")
    ),
    "cased without accents": _config(do_lower_case=False, strip_accents=True),
    "lower case with accents": _config(strip_accents=False),
    "Chinese characters joined": _config(tokenize_chinese_chars=False),
    "other special tokens": _config(cls_token="x", sep_token="z"),
    "special tokens are text": _config(split_special_tokens=True),
    "no added tokens": _both(_json(added_tokens=[]), _config(added_tokens_decoder=None)),
    "further special tokens": _config(additional_special_tokens=["film"]),
    "vocab.txt alone": _without("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    "vocab.txt and a config": _both(_without("tokenizer.json"), _config(do_lower_case=False)),
    "tokenizer.json alone": _without("tokenizer_config.json", "vocab.txt", "special_tokens_map.json"),
}
"""What a folder may say of its tokenizer -> how it is made of a folder as saved."""

NEW_TOKEN_EDITS: dict[str, Callable[[Path], None]] = {
    "a new token": _config(added_tokens_decoder={str(len(BERT_WORDS)): _NEW}),
    "a new token in added_tokens.json": _both(
        _config(added_tokens_decoder=None),
        lambda folder: (folder / "added_tokens.json").write_text(json.dumps({"New": len(BERT_WORDS)})) and None,
    ),
}
"""Edits that add a token beyond the table."""

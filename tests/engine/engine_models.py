"""Model folders of random weights, written with numpy alone: float or int8, every family and head of the engine."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WORDS = 60
POSITIONS = 520


@dataclass(frozen=True)
class Recipe:
    """What kind of model to write."""

    family: str = "bert"
    head: str = "ForSequenceClassification"
    hidden: int = 48
    heads: int = 4
    intermediate: int = 80
    layers: int = 2
    sparsity: float = 0.8
    int8: bool = True
    per_channel: bool = True
    attention_products: bool = False
    outputs: tuple[str, ...] = ("q", "k", "ffn_in", "pooler")
    float_modules: tuple[str, ...] = ()
    int8_tables: bool = False
    empty_rows: bool = True
    activation: str = "gelu"
    labels: int = 3
    padding: int = 1
    embedding: int = 20
    seed: int = 0

    @property
    def counts_from_padding(self) -> bool:
        """Whether it is a RoBERTa by another name: positions from the padding's id on, one type of tokens."""
        return self.family in ("roberta", "xlm-roberta", "camembert")

    @property
    def embedded(self) -> int:
        """Size of its embeddings."""
        return self.embedding if self.family == "electra" else self.hidden

    @property
    def prefix(self) -> str:
        """What its encoder is called inside a model with a head."""
        return "roberta" if self.counts_from_padding else self.family

    def __str__(self) -> str:
        """A test's name."""
        plain = Recipe()
        return (
            ",".join(f"{name}={value}" for name, value in vars(self).items() if value != getattr(plain, name)).replace(
                " ", ""
            )
            or "plain"
        )


# Module names of a layer by role, as transformers has them.
_LAYERS: dict[str, dict[str, str]] = {
    "bert": {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "attention_output": "attention.output.dense",
        "ffn_in": "intermediate.dense",
        "ffn_out": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    },
    "distilbert": {
        "q": "attention.q_lin",
        "k": "attention.k_lin",
        "v": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "ffn_in": "ffn.lin1",
        "ffn_out": "ffn.lin2",
        "norm1": "sa_layer_norm",
        "norm2": "output_layer_norm",
    },
    "mpnet": {
        "q": "attention.attn.q",
        "k": "attention.attn.k",
        "v": "attention.attn.v",
        "attention_output": "attention.attn.o",
        "ffn_in": "intermediate.dense",
        "ffn_out": "output.dense",
        "norm1": "attention.LayerNorm",
        "norm2": "output.LayerNorm",
    },
}
_LAYERS |= dict.fromkeys(("electra", "roberta", "xlm-roberta", "camembert"), _LAYERS["bert"])
_CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "mpnet": "MPNet"}
_CLASSES |= {"electra": "Electra", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"}


def configuration(recipe: Recipe) -> dict[str, Any]:
    """`config.json` of a recipe."""
    config: dict[str, Any] = {
        "model_type": recipe.family,
        "architectures": [_CLASSES[recipe.family] + recipe.head],
        "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS,
        "id2label": {str(index): f"label {index}" for index in range(recipe.labels)},
        "label2id": {f"label {index}": index for index in range(recipe.labels)},
    }
    if recipe.family == "distilbert":
        config |= {"dim": recipe.hidden, "n_layers": recipe.layers, "n_heads": recipe.heads}
        config |= {"hidden_dim": recipe.intermediate, "activation": recipe.activation, "dropout": 0.0}
        return config
    config |= {"hidden_size": recipe.hidden, "num_hidden_layers": recipe.layers, "num_attention_heads": recipe.heads}
    config |= {"intermediate_size": recipe.intermediate, "hidden_act": recipe.activation, "layer_norm_eps": 1e-7}
    if recipe.family in ("bert", "electra"):
        config["type_vocab_size"] = 2
    if recipe.family == "electra":
        config["embedding_size"] = recipe.embedding
    if recipe.counts_from_padding:
        config |= {"type_vocab_size": 1, "pad_token_id": recipe.padding, "bos_token_id": 0, "eos_token_id": 2}
    if recipe.family == "mpnet":
        config |= {"relative_attention_num_buckets": 32, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return config


class _Writer:
    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.tensors: dict[str, np.ndarray] = {}
        self.grids: dict[str, np.ndarray] = {}

    def normal(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def linear(self, name: str, rows: int, columns: int, role: str) -> None:
        recipe = self.recipe
        self.tensors[f"{name}.bias"] = self.normal(rows, scale=0.1)
        weight = self.normal(rows, columns, scale=1.5 / np.sqrt(columns * max(1 - recipe.sparsity, 0.05)))
        weight[self.rng.random(weight.shape) < recipe.sparsity] = 0
        if recipe.empty_rows:
            weight[rows // 2] = 0
        if not recipe.int8 or any(part in name for part in recipe.float_modules):
            self.tensors[f"{name}.weight"] = weight
            return
        largest = np.abs(weight).max(axis=1) if recipe.per_channel else np.abs(weight).max(keepdims=True).reshape(1)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
        levels = np.rint(weight / scale[:, None]) + np.float32(0)  # no -0.0, which is on no grid
        self.tensors[f"{name}.weight"] = levels.astype(np.float32) * scale[:, None]
        self.grids[f"{name}.weight_scale"] = scale
        self.grid(f"{name}.input", {"attention_output": 0.02, "ffn_out": 0.015}.get(role, 0.03))
        products = ("q", "k", "v") if recipe.attention_products else ()
        if role in recipe.outputs or role in products:
            self.grid(f"{name}.output", {"ffn_in": 0.05}.get(role, 0.04))

    def grid(self, name: str, scale: float) -> None:
        """Grids differ from module to module, but for the three inputs of one attention."""
        shared = any(name.endswith(f"{self.names[role]}.input") for role in ("q", "k", "v"))
        jitter = 1.0 if shared else 1 + 0.2 * self.rng.random()
        zero_point = 121 if shared else int(self.rng.integers(100, 156))
        self.grids[f"{name}_scale"] = np.array([scale * jitter], dtype=np.float32)
        self.grids[f"{name}_zero_point"] = np.array([zero_point], dtype=np.uint8)

    def table(self, name: str, rows: int, columns: int) -> None:
        values = self.normal(rows, columns)
        if self.recipe.int8_tables:
            scale = (np.abs(values).max(axis=1) / np.float32(127)).astype(np.float32)
            values = (np.rint(values / scale[:, None]) + np.float32(0)) * scale[:, None]
            self.grids[f"{name}.weight_scale"] = scale
        self.tensors[f"{name}.weight"] = values

    def norm(self, name: str, features: int | None = None) -> None:
        size = features or self.recipe.hidden
        self.tensors[f"{name}.weight"] = 1 + self.normal(size, scale=0.1)
        self.tensors[f"{name}.bias"] = self.normal(size, scale=0.1)

    @property
    def names(self) -> dict[str, str]:
        return _LAYERS[self.recipe.family]

    def write(self) -> None:
        recipe, names = self.recipe, self.names
        base = "" if recipe.head == "Model" else f"{recipe.prefix}."
        hidden = recipe.hidden
        self.table(f"{base}embeddings.word_embeddings", WORDS, recipe.embedded)
        self.table(f"{base}embeddings.position_embeddings", POSITIONS, recipe.embedded)
        if recipe.family in ("bert", "electra") or recipe.counts_from_padding:
            rows = 1 if recipe.counts_from_padding else 2
            self.table(f"{base}embeddings.token_type_embeddings", rows, recipe.embedded)
        self.norm(f"{base}embeddings.LayerNorm", recipe.embedded)
        if recipe.embedded != hidden:  # quantization leaves this one in float
            name = f"{base}embeddings_project"
            self.tensors[f"{name}.weight"] = self.normal(hidden, recipe.embedded, scale=recipe.embedded**-0.5)
            self.tensors[f"{name}.bias"] = self.normal(hidden, scale=0.1)
        stack = "transformer" if recipe.family == "distilbert" else "encoder"
        for number in range(recipe.layers):
            layer = f"{base}{stack}.layer.{number}."
            for role in ("q", "k", "v", "attention_output"):
                self.linear(layer + names[role], hidden, hidden, role)
            self.linear(layer + names["ffn_in"], recipe.intermediate, hidden, "ffn_in")
            self.linear(layer + names["ffn_out"], hidden, recipe.intermediate, "ffn_out")
            self.norm(layer + names["norm1"])
            self.norm(layer + names["norm2"])
        if recipe.family == "mpnet":
            self.tensors[f"{base}encoder.relative_attention_bias.weight"] = self.normal(32, recipe.heads)
        self.head(base)

    def head(self, base: str) -> None:
        recipe, hidden = self.recipe, self.recipe.hidden
        if recipe.head == "ForQuestionAnswering":
            self.linear("qa_outputs", 2, hidden, "head")
        elif recipe.head == "ForTokenClassification":
            self.linear("classifier", recipe.labels, hidden, "head")
        elif recipe.head == "ForSequenceClassification":
            first, second = {
                "bert": (f"{base}pooler.dense", "classifier"),
                "distilbert": ("pre_classifier", "classifier"),
            }.get(recipe.family, ("classifier.dense", "classifier.out_proj"))
            self.linear(first, hidden, hidden, "pooler" if recipe.family == "bert" else "head")
            self.linear(second, recipe.labels, hidden, "head")


def write_model(folder: Path, recipe: Recipe) -> Path:
    """Write the folder of a recipe and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(recipe)
    writer.write()
    save_file(writer.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(configuration(recipe)))
    if recipe.int8:
        config = {
            "weight_granularity": "per_channel" if recipe.per_channel else "per_tensor",
            "quantize_outputs": list(recipe.outputs),
            "attention_products": recipe.attention_products,
            "embeddings": "per_row" if recipe.int8_tables else "float",
        }
        metadata = {"format": "pruneofa-quantization", "format_version": "2", "config": json.dumps(config)}
        save_file(writer.grids, folder / "quantization.safetensors", metadata=metadata)
    return folder


def write_tokenizer(folder: Path) -> list[str]:
    """Write a word-level tokenizer; returns its words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{index}" for index in range(WORDS - 4))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=40)  # what a file may ask for and the engine must not do
    tokenizer.save(str(folder / "tokenizer.json"))
    return words


def token_ids(seed: int, batch: int, length: int) -> np.ndarray:
    """Ids [batch, length]; none is a padding id."""
    return np.random.default_rng(seed).integers(4, WORDS, (batch, length))

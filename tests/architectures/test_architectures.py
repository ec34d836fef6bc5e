import copy
import logging
from collections import Counter

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from pruneofa.architectures.families import families
from pruneofa.architectures.linears import encoder_linears, linear_roles, pooler_linears
from pruneofa.architectures.matching import match_modules
from pruneofa.errors import ConfigurationError

LAYERS = 3
USUAL = {
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**USUAL),
    "distilbert": DistilBertConfig(dim=16, n_layers=LAYERS, n_heads=2, hidden_dim=32, vocab_size=40),
    "mpnet": MPNetConfig(**USUAL),
    "roberta": RobertaConfig(**USUAL),
    "xlm-roberta": XLMRobertaConfig(**USUAL),
    "camembert": CamembertConfig(**USUAL),
    "electra": ElectraConfig(**USUAL, embedding_size=8),
}
HEADS = [
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoModelForQuestionAnswering,
]


def build(family: str, head: type) -> nn.Module:
    with torch.device("meta"):
        return head.from_config(copy.deepcopy(CONFIGS[family]))


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
@pytest.mark.parametrize("family", CONFIGS)
def test_layers_of_every_family_and_head(family: str, head: type) -> None:
    if family == "mpnet" and head is AutoModelForPreTraining:
        head = AutoModelForMaskedLM  # MPNet has no other pre-training model
    model = build(family, head)
    found = encoder_linears(model)
    modules = dict(model.named_modules())
    assert all(modules[name] is module for name, module in found.items())
    assert sum(module.weight.numel() for module in found.values()) == LAYERS * (4 * 16 * 16 + 2 * 16 * 32)
    roles = Counter(linear_roles(model).values())
    pooler = roles.pop("pooler", 0)
    assert pooler == len(pooler_linears(model))
    assert roles == dict.fromkeys(("q", "k", "v", "attention_output", "ffn_in", "ffn_out"), LAYERS)


@pytest.mark.parametrize(
    ("config", "encoder", "pooler"),
    [
        (BertConfig(), 84_934_656, 589_824),
        (
            BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
            301_989_888,
            1_048_576,
        ),
        (DistilBertConfig(), 42_467_328, 0),
    ],
    ids=["bert-base", "bert-large", "distilbert"],
)
def test_counts_of_the_paper(config: PreTrainedConfig, encoder: int, pooler: int) -> None:
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert sum(module.weight.numel() for module in encoder_linears(model).values()) == encoder
    assert sum(module.weight.numel() for module in pooler_linears(model).values()) == pooler


def test_bert_base_with_pooler_is_the_papers_total() -> None:
    with torch.device("meta"):
        model = AutoModelForPreTraining.from_config(BertConfig())
    linears = encoder_linears(model) | pooler_linears(model)
    assert sum(module.weight.numel() for module in linears.values()) == 85_524_480


def test_names_and_roles_of_bert() -> None:
    roles = linear_roles(build("bert", AutoModelForSequenceClassification))
    assert roles["bert.encoder.layer.0.attention.output.dense"] == "attention_output"
    assert roles["bert.encoder.layer.0.output.dense"] == "ffn_out"
    assert roles["bert.pooler.dense"] == "pooler"
    assert "classifier" not in roles


def test_wrapped_models_keep_full_names() -> None:
    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.head = nn.Linear(16, 2)

    model = Wrapper(build("bert", AutoModel))
    assert "inner.encoder.layer.0.intermediate.dense" in encoder_linears(model)
    assert list(pooler_linears(model)) == ["inner.pooler.dense"]
    assert len(encoder_linears(model)) == 6 * LAYERS


@pytest.mark.slow
def test_a_compiled_model_is_looked_through() -> None:
    names = list(encoder_linears(torch.compile(build("bert", AutoModelForMaskedLM))))
    assert names[0] == "_orig_mod.bert.encoder.layer.0.attention.self.query"
    assert len(names) == 6 * LAYERS


def test_subclasses_of_linear_count() -> None:
    class Special(nn.Linear):
        pass

    model = build("bert", AutoModel)
    model.encoder.layer[1].intermediate.dense = Special(16, 32)
    assert isinstance(encoder_linears(model)["encoder.layer.1.intermediate.dense"], Special)


def test_a_model_without_such_layers_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="Sequential holds no model of transformers"):
        encoder_linears(nn.Sequential(nn.Linear(2, 2)))
    model = build("bert", AutoModel)
    model.config.num_hidden_layers = 7
    with pytest.raises(ConfigurationError, match=r"BertModel: expected a ModuleList of config.num_hidden_layers = 7"):
        encoder_linears(model)


def test_unknown_model_type_lists_the_known_ones() -> None:
    model = build("bert", AutoModel)
    model.config.model_type = "novel"
    with pytest.raises(
        ConfigurationError, match="'novel' has no table of roles; known are bert, camembert, distilbert"
    ):
        linear_roles(model)
    assert set(families()) == set(CONFIGS)


def test_a_layer_outside_the_table_is_a_clear_error() -> None:
    model = build("distilbert", AutoModel)
    model.transformer.layer[0].extra = nn.Linear(2, 2)
    with pytest.raises(ConfigurationError, match=r"'transformer.layer.0.extra' has no role: .*'distilbert'"):
        linear_roles(model)


NAMES = ["bert.encoder.layer.0.query", "bert.encoder.layer.0.key", "bert.encoder.layer.1.query", "bert.pooler.dense"]


def test_match_by_glob_and_regular_expression_keeps_order() -> None:
    assert match_modules(NAMES, ["*.pooler.*", "*query"]) == [NAMES[0], NAMES[2], NAMES[3]]
    assert match_modules(NAMES, [r"re:.*layer\.\d\.(query|key)"], ["*layer.1*"]) == NAMES[:2]
    assert match_modules(NAMES, ["bert.pooler.dense"]) == [NAMES[3]]
    assert match_modules([], []) == []


def test_a_pattern_must_fit_the_whole_name_in_its_case() -> None:
    for pattern in ("query", "*QUERY", "re:query"):
        with pytest.raises(ConfigurationError, match="matches no module"):
            match_modules(NAMES, [pattern])


def test_an_unmatched_target_names_pattern_and_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'\*.poler.dense' matches no module; nearest modules: bert.pooler.dense"
    ):
        match_modules(NAMES, ["*query", "*.poler.dense"])
    with pytest.raises(ConfigurationError, match="the model has no module"):
        match_modules([], ["*"])


def test_malformed_expression_and_nothing_left() -> None:
    with pytest.raises(ConfigurationError, match=r"'re:\(' is not a regular expression"):
        match_modules(NAMES, ["re:("])
    with pytest.raises(ConfigurationError, match="exclude every module"):
        match_modules(NAMES, ["*query"], ["*"])


def test_an_unmatched_ignore_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert match_modules(NAMES, ["*"], ["classifier"]) == NAMES
    assert "ignore: pattern 'classifier' matches no module" in caplog.text

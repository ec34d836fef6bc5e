"""The one registry of families: names and roles of an encoder's modules, and its config's keys, per model type.

Layers are found by structure (`pruneofa.architectures.linears`), so families that are not named here can be pruned too.
What a layer is for (its role) can't be seen from structure alone; here it is named, for all who need it: requantized
outputs, the engine's loader, positions, benchmarks. A user's own family is one more entry:

    register_family(replace(family_of("bert"), model_type="my-bert", prefix="my_bert"))
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from pruneofa.errors import ConfigurationError

__all__ = ["ROLE_NAMES", "Family", "Role", "families", "family_of", "find_family", "register_family"]

Role = Literal["q", "k", "v", "attention_output", "ffn_in", "ffn_out", "pooler"]
"""What a Linear of an encoder computes."""

ROLE_NAMES: tuple[Role, ...] = ("q", "k", "v", "attention_output", "ffn_in", "ffn_out", "pooler")
"""Every role, in the order of the data's way through the encoder."""


@dataclass(frozen=True)
class Family:
    """One model type.

    Attributes:
        model_type: `config.model_type` of its models.
        roles: Ending of a Linear's dotted name, within a layer or the encoder -> role. Of two endings that fit a name,
            the longer one holds.
        prefix: What the encoder is called inside a model with a head.
        layer: A layer's name within the encoder; `{}` stands for its number.
        attention_norm: The LayerNorm behind the attention, within a layer.
        output_norm: The LayerNorm behind the feed-forward part.
        classifier: Modules of a sequence-classification head and the activation behind each, in order; `{base}` stands
            for the encoder's prefix with its dot.
        embedding_key: Key of its config for the size of its embeddings, where they have one of their own.
        embedding_projection: The Linear from that size to the layers', within the encoder; only where the two differ.
        hidden_key, layers_key, heads_key, intermediate_key, activation_key: Keys of its config.
        has_token_types: It embeds token types.
        has_relative_positions: Attention scores get a bias by distance, from a table in buckets (T5, MPNet).
        padding_positions: Positions are numbered from the padding token's id on, so a sequence is that much shorter
            than the table.
        fixed_padding: The padding token's id for that, where the config does not say.
        fixed_epsilon: Of its LayerNorms, where the config does not say.
        in_engine: The CPU engine runs it.
    """

    model_type: str
    roles: Mapping[str, Role]
    prefix: str
    layer: str = "encoder.layer.{}"
    attention_norm: str = "attention.output.LayerNorm"
    output_norm: str = "output.LayerNorm"
    classifier: tuple[tuple[str, str], ...] = ()
    embedding_key: str | None = None
    embedding_projection: str = "embeddings_project"
    hidden_key: str = "hidden_size"
    layers_key: str = "num_hidden_layers"
    heads_key: str = "num_attention_heads"
    intermediate_key: str = "intermediate_size"
    activation_key: str = "hidden_act"
    has_token_types: bool = False
    has_relative_positions: bool = False
    padding_positions: bool = False
    fixed_padding: int | None = None
    fixed_epsilon: float | None = None
    in_engine: bool = False

    def module(self, role: Role) -> str:
        """The ending of the module that has a role.

        Raises:
            ConfigurationError: The family has none.
        """
        for ending, found in self.roles.items():
            if found == role:
                return ending
        raise ConfigurationError(f"model_type {self.model_type!r} has no module with the role {role!r}")


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Add a family, or replace the one of its model type.

    Raises:
        ConfigurationError: A role is none of `ROLE_NAMES`.
    """
    if unknown := sorted(set(family.roles.values()) - set(ROLE_NAMES)):
        raise ConfigurationError(
            f"family {family.model_type!r}: {unknown[0]!r} is no role; allowed are {', '.join(ROLE_NAMES)}"
        )
    _FAMILIES[family.model_type] = replace(family, roles=MappingProxyType(dict(family.roles)))


def families() -> Mapping[str, Family]:
    """Every registered family by its model type."""
    return MappingProxyType(_FAMILIES)


def find_family(model_type: object) -> Family | None:
    """The family of a model type; None for one that is not registered."""
    return _FAMILIES.get(model_type) if isinstance(model_type, str) else None


def family_of(model_type: object) -> Family:
    """The family of a model type.

    Raises:
        ConfigurationError: It is not registered.
    """
    family = find_family(model_type)
    if family is None:
        raise ConfigurationError(
            f"model_type {str(model_type)!r} has no table of roles; known are {', '.join(sorted(_FAMILIES))}; "
            "add it with pruneofa.architectures.families.register_family"
        )
    return family


_BERT = Family(
    model_type="bert",
    roles={
        "attention.self.query": "q",
        "attention.self.key": "k",
        "attention.self.value": "v",
        "attention.output.dense": "attention_output",
        "intermediate.dense": "ffn_in",
        "output.dense": "ffn_out",
        "pooler.dense": "pooler",
    },
    prefix="bert",
    classifier=(("{base}pooler.dense", "tanh"), ("classifier", "none")),
    has_token_types=True,
    in_engine=True,
)
_ROBERTA = replace(
    _BERT,
    model_type="roberta",
    prefix="roberta",
    classifier=(("classifier.dense", "tanh"), ("classifier.out_proj", "none")),
    padding_positions=True,
    in_engine=True,
)

for _family in (
    _BERT,
    Family(
        model_type="distilbert",
        roles={
            "attention.q_lin": "q",
            "attention.k_lin": "k",
            "attention.v_lin": "v",
            "attention.out_lin": "attention_output",
            "ffn.lin1": "ffn_in",
            "ffn.lin2": "ffn_out",
        },
        prefix="distilbert",
        layer="transformer.layer.{}",
        attention_norm="sa_layer_norm",
        output_norm="output_layer_norm",
        classifier=(("pre_classifier", "relu"), ("classifier", "none")),
        hidden_key="dim",
        layers_key="n_layers",
        heads_key="n_heads",
        intermediate_key="hidden_dim",
        activation_key="activation",
        fixed_epsilon=1e-12,
        in_engine=True,
    ),
    Family(
        model_type="mpnet",
        roles={
            "attention.attn.q": "q",
            "attention.attn.k": "k",
            "attention.attn.v": "v",
            "attention.attn.o": "attention_output",
            "intermediate.dense": "ffn_in",
            "output.dense": "ffn_out",
            "pooler.dense": "pooler",
        },
        prefix="mpnet",
        attention_norm="attention.LayerNorm",
        classifier=(("classifier.dense", "tanh"), ("classifier.out_proj", "none")),
        has_relative_positions=True,
        padding_positions=True,
        fixed_padding=1,
        in_engine=True,
    ),
    _ROBERTA,
    replace(_ROBERTA, model_type="xlm-roberta"),
    replace(_ROBERTA, model_type="camembert"),
    replace(
        _BERT,
        model_type="electra",
        prefix="electra",
        classifier=(("classifier.dense", "gelu"), ("classifier.out_proj", "none")),
        embedding_key="embedding_size",
        in_engine=True,
    ),
):
    register_family(_family)

"""A small architecture and recipes over it."""

from typing import Any

from pruneofa.planning.sizes import architecture_config
from pruneofa.recipe.document import Recipe

SIZES = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **SIZES},
    "distilbert": {
        "model_type": "distilbert", "vocab_size": 120, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48,
        "max_position_embeddings": 64,
    },
    "roberta": {"model_type": "roberta", **SIZES},
    "electra": {"model_type": "electra", **SIZES, "embedding_size": 16},
}  # fmt: skip


def small_config(name: str = "bert", **changes: Any) -> Any:
    config = architecture_config({**ARCHITECTURES[name], **changes})
    config._attn_implementation = "eager"
    return config


def small_recipe(**sections: Any) -> Recipe:
    """Teacher preparation and pruning, 30 and 40 steps of 8 sequences of 16 tokens."""
    training = {"max_steps": 30, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    document = {
        "name": "small",
        "model": {"name_or_path": "none", "architecture": ARCHITECTURES["bert"]},
        "corpus": {"source": "none", "max_length": 16},
        "teach": {"training": training},
        "prune": {
            "training": {**training, "max_steps": 40, "lr_scheduler_type": "rewinding"},
            "sparsity": {"target_sparsity": 0.8, "end_step": 20, "update_every": 4, "freeze_step": 30},
            "distillation": {"tokens": "all"},
        },
    }
    return Recipe.model_validate({**document, **sections})

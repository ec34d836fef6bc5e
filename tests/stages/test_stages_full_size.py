"""The paper's three models: their prunable weights at full size, and every stage on a few of their layers."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, DistilBertConfig

from pruneofa.architectures.linears import encoder_linears, pooler_linears
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.training.pretraining import pretraining_class
from pruneofa.workflow import pipeline

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
FULL = {
    "bert-base": (BertConfig(), True, 84_934_656, 768**2),
    "bert-large": (BertConfig(**LARGE), True, 301_989_888, 1024**2),
    "distilbert": (DistilBertConfig(), False, 42_467_328, 0),
}


@pytest.mark.parametrize("name", FULL)
def test_prunable_weights_of_the_papers_models(name: str) -> None:
    config, pairs, weights, of_pooler = FULL[name]
    with torch.device("meta"):
        model = pretraining_class(config, pairs=pairs).from_config(config)
    assert sum(linear.weight.numel() for linear in encoder_linears(model).values()) == weights
    assert sum(linear.weight.numel() for linear in pooler_linears(model).values()) == of_pooler


def small(name: str, words: int) -> Any:
    """The same architecture with two narrow layers."""
    config, *_ = FULL[name]
    if isinstance(config, DistilBertConfig):
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 32}
        return DistilBertConfig(vocab_size=words, **sizes)
    heads = 4 if name == "bert-large" else 2
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": 64}
    return BertConfig(vocab_size=words, max_position_embeddings=32, **sizes)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batching"), [("bert-large", "packed"), ("distilbert", "bucketed")])
def test_every_stage_takes_steps(name: str, batching: str, small_world: Any, tmp_path: Path) -> None:
    model = Path(shutil.copytree(small_world.model, tmp_path / "model"))
    config, pairs = small(name, len(AutoTokenizer.from_pretrained(model))), FULL[name][1]
    pretraining_class(config, pairs=pairs).from_config(config).save_pretrained(model)
    chooser = random.Random(0)
    sentences = ["The film was good.", "This plot is very dull!", "A warm cast and one scene."]
    documents = [" ".join(chooser.choices(sentences, k=6)) for _ in range(30)]
    (tmp_path / "text.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")

    document = load_recipe(str(small_world.recipe)).model_dump(mode="json", exclude_none=True)
    document["model"] = {"name_or_path": str(model)}
    document["corpus"] |= {"source": str(tmp_path / "text.txt"), "form": "pairs" if pairs else "sentences"}
    for stage in ("teach", "prune", "finetune", "transfer", "quantize"):
        document[stage]["training"] |= {"max_steps": 2, "gradient_accumulation_steps": 2, "lr_scheduler_type": "linear"}
    for stage in ("teach", "prune"):
        document[stage]["training"] |= {"batching": batching, "gradient_checkpointing": True}
    document["prune"]["sparsity"] |= {"end_step": 2, "freeze_step": 2, "prune_pooler": pairs}
    document["quantize"]["quantization"]["freeze_observers_step"] = 1
    recipe = Recipe.model_validate(document)
    inputs = {"model": str(model)}
    for step in pipeline.STEPS:
        if step.stage.name in ("evaluate", "compress") or not step.is_asked_for(recipe):
            continue
        step.stage.run(recipe, inputs, tmp_path / step.stage.name)
        inputs |= dict.fromkeys(step.provides, str(tmp_path / step.stage.name))
    for stage in ("prune", "transfer", "quantize"):
        assert inspect_model(tmp_path / stage).as_dict()["encoder_sparsity"] == pytest.approx(0.85, abs=2e-3)

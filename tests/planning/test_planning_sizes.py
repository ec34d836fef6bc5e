import pytest
from small_plans import ARCHITECTURES, small_config

from pruneofa.errors import ConfigurationError
from pruneofa.planning.sizes import architecture_config, build_model, model_sizes
from pruneofa.recipe.files import load_recipe
from pruneofa.sparsity.config import SparsityConfig

# docs/method.md; parameters as transformers counts them.
PAPER = {
    "bert-base-90": (84_934_656, 85_524_480, 110_106_428),
    "bert-large-90": (301_989_888, 303_038_464, 336_226_108),
    "distilbert-90": (42_467_328, 42_467_328, 66_985_530),
}


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_models_at_full_size(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.corpus is not None and recipe.prune is not None
    head = "pairs" if recipe.corpus.form == "pairs" else "masked_lm"
    config = architecture_config(recipe.model.architecture or {})
    sizes = model_sizes(config, head)
    pruned = model_sizes(config, head, recipe.prune.sparsity)
    assert (sizes.prunable, pruned.prunable, sizes.parameters) == PAPER[name]
    assert sizes.per_token == sizes.prunable
    assert sizes.per_prediction == sizes.hidden**2 + sizes.hidden * 30_522
    assert sizes.intermediate == 4 * sizes.hidden


@pytest.mark.parametrize("head", ["masked_lm", "classification", "question_answering"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_are_those_of_the_model_itself(name: str, head: str) -> None:
    config = small_config(name)
    sizes, model = model_sizes(config, head), build_model(config, head)
    assert sizes.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (sizes.layers, sizes.hidden, sizes.heads, sizes.intermediate) == (2, 32, 4, 48)
    assert sizes.vocabulary == (120 if head == "masked_lm" else 0)
    assert sizes.prunable == 2 * (4 * 32 * 32 + 2 * 32 * 48)
    assert (sizes.dropout, sizes.attention_dropout) == (0.1, 0.1)


def test_only_what_the_recipe_prunes_is_prunable() -> None:
    pooler = model_sizes(small_config(), "pairs", SparsityConfig(prune_pooler=True))
    assert pooler.prunable == 2 * (4 * 32 * 32 + 2 * 32 * 48) + 32 * 32
    queries = model_sizes(small_config(), "masked_lm", SparsityConfig(targets=["*.query"]))
    assert queries.prunable == 2 * 32 * 32


def test_what_can_t_be_built_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.architecture: .*'nobody'.* is none that transformers knows"):
        architecture_config({"model_type": "nobody"})
    with pytest.raises(ConfigurationError, match="a model of type 'vit' can't be built with a head for masked_lm"):
        model_sizes(architecture_config({"model_type": "vit"}), "masked_lm")

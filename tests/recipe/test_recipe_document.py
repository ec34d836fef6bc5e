"""The recipe as a whole: what it accepts, and what its defaults are."""

import pydantic
import pytest

from pruneofa.errors import ConfigurationError
from pruneofa.recipe.document import Recipe
from pruneofa.training.sections import PruneSection, QuantizeSection, TransferSection

MODEL = {"name_or_path": "some/model"}


def test_a_name_and_a_model_are_enough():
    recipe = Recipe.model_validate({"name": "mine", "model": MODEL})
    assert recipe.seed == 0
    assert recipe.corpus is recipe.teach is recipe.prune is recipe.task is None
    assert recipe.finetune is recipe.transfer is recipe.quantize is None


def test_defaults_are_the_papers():
    prune, transfer, quantize = PruneSection(), TransferSection(), QuantizeSection()
    assert prune.training.lr_scheduler_type == "rewinding"
    assert prune.distillation is not None
    assert (prune.distillation.temperature, prune.distillation.hardness) == (2.0, 0.5)
    assert prune.mask_probability == 0.15
    for section in (transfer, quantize):
        assert section.distillation is not None
        assert (section.distillation.temperature, section.distillation.hardness) == (2.0, 1.0)
    assert transfer.sparsity is None


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_name_is_fit_for_a_folder(name):
    with pytest.raises(ConfigurationError, match="name"):
        Recipe.model_validate({"name": name, "model": MODEL})


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_a_seed_is_one_that_every_generator_takes(seed):
    with pytest.raises(ConfigurationError, match="seed"):
        Recipe.model_validate({"name": "mine", "seed": seed, "model": MODEL})


def test_a_recipe_does_not_change():
    recipe = Recipe.model_validate({"name": "mine", "model": MODEL})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]

"""Every row of the paper as a dry run: the architecture at full size, its prunable weights, the schedule."""

import pytest

from pruneofa.errors import ConfigurationError
from pruneofa.planning.outline import outline
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe, shipped_recipes
from pruneofa.recipe.published import published_rows

PRUNABLE = {"BERT-Base": 84_934_656, "BERT-Large": 301_989_888, "DistilBERT": 42_467_328}
POOLER = {"BERT-Base": 589_824, "BERT-Large": 1_048_576, "DistilBERT": 0}


def test_there_are_45_rows_and_each_is_a_shipped_recipe():
    names = [row.recipe for row in published_rows()]
    assert len(names) == len(set(names)) == 45
    assert set(names) <= set(shipped_recipes())


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: row.recipe)
def test_a_row_is_planned_at_full_size(row):
    recipe = load_recipe(row.recipe)
    found = outline(recipe)
    assert (found.encoder_weights, found.pooler_weights) == (PRUNABLE[row.model], POOLER[row.model])
    share = found.pruned_weights / (found.encoder_weights + found.pooler_weights)
    assert share == pytest.approx(row.sparsity, abs=1e-5)
    moments = {moment.step: moment for moment in found.moments}
    assert moments[25_000].sparsity == pytest.approx(row.sparsity * 0.875)
    assert moments[50_000].sparsity == row.sparsity and moments[100_000].learning_rate == 0.0
    assert moments[1_000].learning_rate == pytest.approx(1e-4 * 1.020408, rel=1e-5)
    assert found.reselections == 81
    stages = ["corpus", "teach", "prune", "finetune", "transfer", *(["quantize"] if row.int8 else []), "evaluate"]
    assert [stage.name for stage in found.stages] == stages
    assert recipe.task is not None and recipe.task.task_name == row.task
    assert recipe.finetune is not None and recipe.finetune.seeds and recipe.task.validation_fraction > 0


@pytest.mark.parametrize(
    ("name", "stage", "rate", "epochs", "batch"),
    [
        ("bert-base-90-squad", "transfer", 1.5e-4, 8, 12),
        ("bert-base-90-sst2", "transfer", 1e-4, 9, 32),
        ("bert-base-85-int8-squad", "quantize", 1e-5, 2, 12),
        ("bert-base-85-int8-qqp", "quantize", 1e-5, 3, 32),
        ("distilbert-90-int8-squad", "transfer", 1.8e-4, 8, 12),
        ("distilbert-90-int8-squad", "quantize", 1e-5, 2, 12),
        ("distilbert-85-int8-sst2", "transfer", 1.5e-4, 9, 32),
        ("distilbert-90-int8-sst2", "quantize", 1e-6, 3, 32),
    ],
)
def test_the_authors_settings(name, stage, rate, epochs, batch):
    section = getattr(load_recipe(name), stage)
    training = section.training
    assert (training.learning_rate, training.num_train_epochs, training.per_device_train_batch_size) == (
        rate,
        epochs,
        batch,
    )
    assert (section.distillation.temperature, section.distillation.hardness) == (2.0, 1.0)
    if stage == "quantize":
        assert section.quantization.weight_granularity == "per_tensor"


@pytest.mark.parametrize("name", ["bert-base-90", "bert-large-90", "distilbert-85"])
def test_pretraining_takes_256_sequences_a_step(name):
    recipe = load_recipe(name)
    assert recipe.task is recipe.transfer is None
    for section in (recipe.teach, recipe.prune):
        training = section.training
        assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 256
        assert (training.max_steps, training.warmup_ratio, training.weight_decay) == (100_000, 0.01, 0.01)
    assert recipe.corpus.form == ("blocks" if name.startswith("distil") else "pairs")
    assert recipe.prune.sparsity.prune_pooler == (not name.startswith("distil"))


def test_a_model_that_is_sparse_already_takes_the_place_of_pretraining():
    recipe = load_recipe("bert-base-85-sst2", ["model.sparse_name_or_path=some/sparse"])
    assert recipe.corpus is recipe.teach is recipe.prune is None
    found = outline(recipe)
    assert found.pruned_weights is None and found.moments == []
    assert [stage.name for stage in found.stages] == ["finetune", "transfer", "evaluate"]


def test_an_architecture_that_is_none():
    for architecture in ({"model_type": "nope"}, {"hidden_size": 3}):
        recipe = Recipe.model_validate({"name": "x", "model": {"name_or_path": "m", "architecture": architecture}})
        with pytest.raises(ConfigurationError, match=r"model\.architecture: .* is none that transformers knows"):
            outline(recipe)


def test_a_local_model_is_planned_from_its_own_config(small_world):
    found = outline(load_recipe(str(small_world.recipe)))
    assert (found.encoder_weights, found.encoder_tensors) == (14_336, 12)
    assert found.moments[-1].step == 8

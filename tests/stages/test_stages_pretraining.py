"""Pre-training on segment pairs: both heads learn, both are saved, and models without such a head are refused."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ElectraConfig,
    RobertaConfig,
)

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.masking import MaskedLanguageModelDataset
from pruneofa.errors import ConfigurationError
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.stage_folder import CORPUS_FOLDER, load_log
from pruneofa.stages import corpus, prune, teach
from pruneofa.training.pretraining import pretraining_class
from pruneofa.workflow.preflight import check_run

pytestmark = pytest.mark.slow

WORDS = [
    *("the", "film", "was", "good", "and", "this", "plot", "is", "very", "dull"),
    *("a", "warm", "cast", "music", "story", "scene", "bad", "great"),
]


def write_documents(path: Path) -> None:
    """Documents of several sentences, so that there are pairs to be made."""
    chooser = random.Random(3)
    documents = [
        " ".join(f"The {' '.join(chooser.choices(WORDS, k=5))}." for _ in range(chooser.randint(6, 9)))
        for _ in range(40)
    ]
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")


def recipe_of(small_world: Any, source: Path, **training: Any) -> Recipe:
    recipe = load_recipe(str(small_world.recipe))
    document = recipe.model_dump(mode="json", exclude_none=True)
    document["corpus"] |= {"source": str(source), "form": "pairs", "max_length": 24}
    for stage in ("teach", "prune"):
        document[stage]["training"] |= training
    document["prune"]["sparsity"]["prune_pooler"] = True
    document["prune"]["distillation"]["tokens"] = "all"
    return Recipe.model_validate(document)


@pytest.fixture(scope="module")
def trained(small_world: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Corpus of pairs, teacher and sparse student, each in its folder, with what their stages returned."""
    folder = tmp_path_factory.mktemp("pairs")
    write_documents(folder / "text.txt")
    recipe = recipe_of(small_world, folder / "text.txt")
    corpus.run(recipe, {"model": str(small_world.model)}, folder / "corpus")
    inputs = {"model": str(small_world.model), "corpus": str(folder / "corpus")}
    taught = teach.run(recipe, inputs, folder / "teach")
    pruned = prune.run(recipe, {**inputs, "dense": str(folder / "teach")}, folder / "prune")
    return {"folder": folder, "recipe": recipe, "teach": taught, "prune": pruned}


def validation_batch(folder: Path) -> dict[str, torch.Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder / "teach")
    part = load_corpus(folder / "corpus" / CORPUS_FOLDER, tokenizer)["validation"]
    data = MaskedLanguageModelDataset(part, tokenizer, 0)
    return PaddingCollator(tokenizer.pad_token_id)([data[index] for index in range(len(data))])


def test_both_heads_are_trained_saved_and_load_with_the_library_alone(trained: dict[str, Any]) -> None:
    for stage in ("teach", "prune"):
        folder = trained["folder"] / stage
        model, report = AutoModelForPreTraining.from_pretrained(folder, output_loading_info=True)
        assert isinstance(model, BertForPreTraining)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        for auto_class in (AutoModelForMaskedLM, AutoModelForSequenceClassification):
            _, report = auto_class.from_pretrained(folder, output_loading_info=True)
            assert not [name for name in report["missing_keys"] if "encoder" in name]
        assert [entry for entry in load_log(folder) if "loss/next_sentence" in entry]
    before, after = (AutoModelForPreTraining.from_pretrained(trained["folder"] / stage) for stage in ("teach", "prune"))
    for name in ("bert.pooler.dense.weight", "cls.seq_relationship.weight"):
        assert not torch.equal(before.get_parameter(name), after.get_parameter(name))
    pooler = after.get_parameter("bert.pooler.dense.weight")
    assert float((pooler == 0).float().mean()) == pytest.approx(0.85, abs=1e-3)


def test_evaluation_loss_is_that_of_both_heads(trained: dict[str, Any]) -> None:
    batch = validation_batch(trained["folder"])
    for stage in ("teach", "prune"):
        model = AutoModelForPreTraining.from_pretrained(trained["folder"] / stage).eval()
        with torch.no_grad():
            wanted = float(model(**batch).loss)
        assert trained[stage]["eval_loss"] == pytest.approx(wanted, rel=1e-4)


def test_next_sentence_loss_is_logged_as_a_part_of_the_task(trained: dict[str, Any]) -> None:
    entries = [entry for entry in load_log(trained["folder"] / "prune") if "loss/task" in entry]
    assert entries
    for entry in entries:
        assert 0.0 < entry["loss/next_sentence"] < entry["loss/task"]
        assert entry["loss"] == pytest.approx(0.5 * (entry["loss/task"] + entry["loss/distillation"]), rel=1e-3)


def test_packed_and_padded_runs_see_the_same_pairs(trained: dict[str, Any], small_world: Any, tmp_path: Path) -> None:
    """Without dropout the two are one run, but for rounding."""
    folder, results = trained["folder"], []
    for batching in ("padded", "packed"):
        recipe = recipe_of(small_world, folder / "text.txt", batching=batching, dropout=0.0, max_steps=8)
        inputs = {"corpus": str(folder / "corpus"), "dense": str(folder / "teach")}
        prune.run(recipe, inputs, tmp_path / batching)
        entries = [entry for entry in load_log(tmp_path / batching) if "loss/task" in entry]
        results.append([entry[name] for entry in entries for name in ("loss/next_sentence", "loss/distillation")])
    assert results[1] == pytest.approx(results[0], rel=2e-3)


def test_models_without_a_next_sentence_head_are_refused(small_world: Any, tmp_path: Path) -> None:
    for config in (DistilBertConfig(), RobertaConfig(), ElectraConfig()):
        assert pretraining_class(config, pairs=False) is AutoModelForMaskedLM
        with pytest.raises(
            ConfigurationError, match=f"models of type '{config.model_type}' have no next-sentence head"
        ):
            pretraining_class(config, pairs=True)
    assert pretraining_class(BertConfig(), pairs=True) is AutoModelForPreTraining

    write_documents(tmp_path / "text.txt")
    model = shutil.copytree(small_world.model, tmp_path / "distilbert")
    words = len(AutoTokenizer.from_pretrained(model))
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 32}
    DistilBertForMaskedLM(DistilBertConfig(vocab_size=words, **sizes)).save_pretrained(model)
    document = recipe_of(small_world, tmp_path / "text.txt").model_dump(mode="json", exclude_none=True)
    document["model"]["name_or_path"] = str(model)
    recipe = Recipe.model_validate(document)
    with pytest.raises(ConfigurationError, match=r"corpus\.form: the corpus is one of segment pairs, but models of"):
        check_run(recipe)
    corpus.run(recipe, {"model": str(model)}, tmp_path / "corpus")
    with pytest.raises(ConfigurationError, match="models of type 'distilbert' have no next-sentence head"):
        teach.run(recipe, {"model": str(model), "corpus": str(tmp_path / "corpus")}, tmp_path / "teach")


def test_packing_a_task_is_refused_before_the_run(small_world: Any, tmp_path: Path) -> None:
    document = load_recipe(str(small_world.recipe)).model_dump(mode="json", exclude_none=True)
    document["transfer"]["training"]["batching"] = "packed"
    with pytest.raises(
        ConfigurationError, match=r"transfer\.training\.batching is 'packed', which is for pre-training"
    ):
        check_run(Recipe.model_validate(document))

"""A whole run of a small sentence encoder: from plain text to a file of vectors, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from pruneofa.architectures.linears import encoder_linears
from pruneofa.engine.engine import Engine
from pruneofa.errors import ConfigurationError
from pruneofa.models.loading import load_model
from pruneofa.recipe.files import load_recipe
from pruneofa.stage_folder import load_log
from pruneofa.workflow.pipeline import run_pipeline
from pruneofa.workflow.preflight import check_run

STEPS = 8


@pytest.fixture(scope="module")
def encoder(small_world, tmp_path_factory):
    """The small model as a folder of sentence-transformers."""
    folder = tmp_path_factory.mktemp("encoder") / "model"
    shutil.copytree(small_world.model, folder)
    kinds = (("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize"))
    modules = [
        {"idx": int(number), "name": number, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, path, kind in kinds
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16, "do_lower_case": false}')
    return folder


def recipe_of(world, encoder, *overrides):
    return load_recipe(
        "minilm-embedder",
        [
            f"model.name_or_path={encoder}",
            f"corpus.source={world.corpus}",
            f"quantize.calibration.source={world.corpus}",
            "corpus.max_length=16",
            "corpus.validation_fraction=0.1",
            "one_shot.examples=24",
            "one_shot.reconstruction.iterations=3",
            f"prune_embedder.training.max_steps={STEPS}",
            "prune_embedder.training.per_device_train_batch_size=6",
            "prune_embedder.training.logging_steps=1",
            "prune_embedder.training.precision=float32",
            "prune_embedder.sparsity.end_step=4",
            "prune_embedder.sparsity.update_every=2",
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def run_folder(small_world, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "embedder"
    run_pipeline(recipe_of(small_world, encoder), folder)
    return folder


def zeros_of(folder):
    from transformers import AutoModel

    weights = [linear.weight for linear in encoder_linears(load_model(AutoModel, str(folder))).values()]
    return [float((weight == 0).float().mean()) for weight in weights]


def test_the_file_embeds_as_the_folder_says(run_folder, encoder):
    vectors = Engine.load(run_folder / "model.pofa").embed(["the film was good", "the plot was dull"])
    assert vectors.shape == (2, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)  # its Normalize module came along
    assert (run_folder / "quantize" / "1_Pooling" / "config.json").read_bytes() == (
        encoder / "1_Pooling" / "config.json"
    ).read_bytes()


def test_half_goes_in_one_shot_and_the_rest_while_it_learns(run_folder):
    assert np.mean(zeros_of(run_folder / "one_shot")) == pytest.approx(0.5, abs=0.01)
    assert zeros_of(run_folder / "prune_embedder") == pytest.approx([0.8] * 12, abs=0.002)
    log = [entry["sparsity/actual"] for entry in load_log(run_folder / "prune_embedder") if "sparsity/actual" in entry]
    assert log[0] >= 0.5 - 0.01 and log == sorted(log)  # the zeros that are there are never given back
    assert log[-1] == pytest.approx(0.8, abs=0.002)


def test_the_loss_has_its_parts_and_the_held_out_part_is_judged(run_folder):
    log = load_log(run_folder / "prune_embedder")
    assert {"loss/hidden", "loss/embedding", "loss/relation"} <= log[0].keys()
    assert 0 < next(entry["eval_loss"] for entry in log if "eval_loss" in entry) < 10


def test_without_a_ramp_the_pattern_is_locked(small_world, encoder, tmp_path):
    run_pipeline(recipe_of(small_world, encoder, "prune_embedder.sparsity=null", "quantize=null"), tmp_path / "run")
    before, after = (zeros_of(tmp_path / "run" / name) for name in ("one_shot", "prune_embedder"))
    assert before == after
    assert (tmp_path / "run" / "model.pofa").exists()


def test_sections_that_contradict_each_other_are_told_before_the_run(small_world, encoder):
    with pytest.raises(ConfigurationError, match="one_shot: needs the section corpus"):
        check_run(recipe_of(small_world, encoder, "corpus=null", "prune_embedder=null", "quantize=null"))
    with pytest.raises(ConfigurationError, match="needs the section transfer, or prune_embedder"):
        check_run(recipe_of(small_world, encoder, "prune_embedder=null"))

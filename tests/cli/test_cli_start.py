"""What a command imports before it must: a misspelt name is told without torch, and light work is done without it."""

import json
import shutil

import pytest

HEAVY = ("torch", "torch._dynamo", "transformers", "datasets", "matplotlib")


@pytest.fixture(scope="module")
def place(small_world, tmp_path_factory):
    """A folder with a model of transformers' own, its compressed file and texts."""
    from pruneofa.models.folder_compression import compress_model

    folder = tmp_path_factory.mktemp("start")
    shutil.copytree(small_world.model, folder / "model")
    compress_model(str(folder / "model"), str(folder / "model.pofa"))
    shutil.copy(small_world.evaluation, folder / "texts.csv")
    return folder


def started(shell, place, words):
    """Exit code and messages of a command, and the heavy libraries that it imported."""
    program = (
        f"import os, sys, json\nos.chdir({str(place)!r})\nsys.argv = ['pruneofa', *{words.split()}]\n"
        "from pruneofa.cli.main import main\n"
        "code = 0\ntry:\n    main()\nexcept SystemExit as ended:\n    code = ended.code\n"
        f"print()\nprint(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))"
    )
    outcome = shell("-c", program)
    code, heavy = json.loads(outcome.out.splitlines()[-1])
    return code, outcome.err, heavy


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "predict --help",
        "doctor",
        "recipes",
        "inspect model",
        "inspect model.pofa",
        "compress model out.pofa",
        "decompress model.pofa out",
        "predict model texts.csv --output vectors.jsonl",
        "predict model.pofa texts.csv --output vectors.csv",
    ],
)
def test_light_work_imports_nothing_heavy(shell, place, words):
    assert started(shell, place, words) == (0, "", [])


TASK = "--train_file texts.csv --validation_file texts.csv --output_dir out"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (f"finetune --model_name_or_path ./modle {TASK}", "modle"),
        (
            "finetune --model_name_or_path model --train_file text.csv --validation_file texts.csv --output_dir o",
            "text",
        ),
        (
            "finetune --model_name_or_path model --train_file texts.csv --validation_file text.csv --output_dir o",
            "text",
        ),
        (f"transfer --model_name_or_path model --teacher_name_or_path ./techer {TASK}", "techer"),
        ("quantize --model_name_or_path model --calibration_file text.csv --output_dir out", "text.csv"),
        ("prune --model_name_or_path model --corpus_dir corpsu --output_dir out", "corpsu"),
        ("corpus --model_name_or_path model --train_file text.txt --output_dir out", "text.txt"),
        ("evaluate ./modle --validation_file texts.csv --output_dir out", "modle"),
        ("evaluate model --validation_file text.csv --output_dir out", "text.csv"),
        ("one-shot ./modle out --texts texts.csv", "modle"),
        ("one-shot model out --texts text.csv", "text.csv"),
        ("export ./modle out.onnx", "modle"),
        ("bench modle", "modle"),
        ("compress modle out.pofa", "modle"),
        ("inspect modle", "modle"),
        ("predict modle texts.csv", "modle"),
        ("predict model text.csv", "text.csv"),
        ("run demmo", "demmo"),
        ("plan demmo", "demmo"),
        ("report rnu", "rnu"),
        ("push_to_hub rnu me/it --dry_run", "rnu"),
    ],
)
def test_a_misspelt_name_is_told_before_anything_heavy_is_imported(shell, place, words, name):
    before = sorted(place.iterdir())
    code, message, heavy = started(shell, place, words)
    assert code in (1, 2) and message.startswith("error: ") and name in message
    assert heavy == []
    assert sorted(place.iterdir()) == before


def test_a_dense_model_is_not_called_smaller(cli, place):
    outcome = cli("compress", place / "model", place / "dense.pofa")
    (place / "dense.pofa").unlink()
    assert outcome.code == 0
    assert "larger than float32: the model is not sparse" in outcome.out or "as large as float32" in outcome.out


def test_an_onnx_file_without_its_model_says_what_must_lie_beside_it(cli, place, tmp_path):
    (tmp_path / "moved.onnx").write_bytes(b"onnx")
    words = ("--validation_file", place / "texts.csv", "--output_dir", tmp_path / "out")
    outcome = cli("evaluate", tmp_path / "moved.onnx", *words)
    assert outcome.code == 1
    assert "beside an ONNX file must lie its model's config.json and tokenizer files" in outcome.err
    outcome = cli("evaluate", tmp_path / "other" / "moved.onnx", *words)
    assert outcome.code == 1

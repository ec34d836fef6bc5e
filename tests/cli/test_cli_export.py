"""export, evaluate and inspect of an ONNX file, and push_to_hub, as a user calls them."""

import json
import re

import onnx
import pytest


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """A copy of the run's int8 model with its ONNX file beside it, and what the command printed."""
    import shutil

    from typer.testing import CliRunner

    from pruneofa.cli.main import app

    folder = tmp_path_factory.mktemp("export") / "int8"
    shutil.copytree(finished_run / "quantize", folder, ignore=shutil.ignore_patterns(".stage"))
    result = CliRunner().invoke(app, ["export", str(folder), str(folder / "model.onnx")], catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "model.onnx", result.stdout


@pytest.mark.slow
def test_export_says_what_it_wrote_and_how_far_it_is_from_pytorch(exported):
    path, printed = exported
    first, second, note = printed.splitlines()
    assert first.startswith(f"{path}: ")
    # PreTrainedTokenizerFast, of which the small world's tokenizer is, gives no token types.
    assert first.endswith("int8; input_ids, attention_mask -> logits")
    error = re.search(r"max error (\S+), values up to (\S+), 10 batches of 1 to 32 tokens$", second)
    assert error is not None
    assert float(error[1]) < 0.02 * max(1.0, float(error[2]))
    assert note.startswith("note: ONNX Runtime on x86 without VNNI needs the session option")
    assert '"session.x64quantprecision" = "1"' in note
    onnx.checker.check_model(onnx.load(path), full_check=True)


@pytest.mark.slow
def test_metrics_are_those_of_the_folder(cli, exported, small_world, tmp_path):
    path, _ = exported
    found = {}
    for model in (path, path.parent):
        outcome = cli(
            "evaluate", model, "--validation_file", small_world.evaluation, "--max_length", 16, "--json",
            "--output_dir", tmp_path / model.name,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        found[model] = json.loads(outcome.out)["accuracy"]
    assert abs(found[path] - found[path.parent]) <= 0.001


@pytest.mark.slow
def test_inspect_counts_the_onnx_file_as_the_folder(cli, exported):
    path, _ = exported
    onnx_file, folder = (json.loads(cli("inspect", model, "--json").out) for model in (path, path.parent))
    assert set(onnx_file) == set(folder)
    for key in ("encoder_sparsity", "encoder_parameters", "encoder_nonzero", "bits", "nominal_ratio"):
        assert onnx_file[key] == folder[key]
    assert onnx_file["bytes_total"] == path.stat().st_size
    assert "encoder sparsity 84.96 %" in cli("inspect", path).out


@pytest.mark.slow
def test_export_of_a_compressed_file_is_the_same_file(cli, exported, finished_run, tmp_path):
    path, _ = exported
    outcome = cli("export", finished_run / "model.pofa", tmp_path / "other.onnx", "--no-verify")
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 2)  # with a note
    assert (tmp_path / "other.onnx").read_bytes() == path.read_bytes()


def test_export_errors(cli, small_world, tmp_path):
    outcome = cli("export", tmp_path / "nothing", tmp_path / "x.onnx")
    assert (outcome.code, str(tmp_path / "nothing") in outcome.err) == (1, True)
    outcome = cli("export", small_world.model, tmp_path / "x.onnx", "--pooling", "sum")
    assert (outcome.code, "pooling is 'sum', allowed are none, cls, max, mean" in outcome.err) == (2, True)
    outcome = cli("export", small_world.model, tmp_path / "x.onnx", "--normalize")
    assert (outcome.code, "normalize needs pooling" in outcome.err) == (2, True)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_a_graph_that_answers_otherwise_is_not_written(cli, exported, tmp_path, monkeypatch):
    from pruneofa.export import export_model as stage
    from pruneofa.export.parity import Parity

    path, _ = exported
    monkeypatch.setattr(stage, "onnx_model", lambda *_, **__: onnx.load(path))
    monkeypatch.setattr(stage, "measure_parity", lambda *_: Parity(3.0, 1.0, 1, 1))
    outcome = cli("export", path.parent, tmp_path / "x.onnx")
    assert outcome.code == 1
    assert "differ from PyTorch's by up to 3 (largest value 1), so the file was not written" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_its_extra(cli, small_world, tmp_path, monkeypatch):
    import sys

    for name in [
        name for name in sys.modules if name.startswith("pruneofa.export") or name == "pruneofa.export.export_model"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    outcome = cli("export", small_world.model, tmp_path / "x.onnx")
    assert (outcome.code, "pip install 'pruneofa[train,export]'" in outcome.err) == (1, True)


def test_push_to_hub_lists_what_it_would_send(cli, finished_run):
    outcome = cli("push_to_hub", finished_run, "me/sparse", "--dry_run")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert {"README.md", "config.json", "model.pofa", "model.safetensors"} <= {line.split()[0] for line in lines}
    assert re.fullmatch(r"\d+ files, .*; nothing was uploaded", lines[-1])
    wrong = cli("push_to_hub", finished_run, "a b", "--dry_run")
    assert (wrong.code, "REPO is 'a b'" in wrong.err) == (2, True)


def test_push_to_hub_without_a_network_says_so(cli, finished_run):
    outcome = cli("push_to_hub", finished_run, "me/sparse")  # the tests run with HF_HUB_OFFLINE
    assert outcome.code == 1
    assert re.search(r"me/sparse: (the hub can't be reached|the hub asks for a token)", outcome.err)

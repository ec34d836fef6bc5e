"""push_to_hub with a fake API: what is sent, what stays here, and what a user reads when it fails."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from pruneofa.errors import CheckpointError, ConfigurationError, PruneofaError
from pruneofa.workflow.hub import push_to_hub


class FakeApi:
    """Keeps what is uploaded; or fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.created, self.files = failure, [], {}

    def create_repo(self, repo_id, *, private, exist_ok):
        if self.failure is not None:
            raise self.failure
        self.created.append((repo_id, private, exist_ok))
        return Url(repo_id)

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        assert self.created[-1][0] in (repo_id, repo_id.partition("/")[2])
        self.message = commit_message
        for path in Path(folder_path).rglob("*"):
            if path.is_file():
                self.files[path.relative_to(folder_path).as_posix()] = path.read_bytes()


@dataclasses.dataclass
class Url:
    name: str

    @property
    def repo_id(self):
        return self.name if "/" in self.name else f"me/{self.name}"

    def __str__(self):
        return f"https://hub/{self.repo_id}"


def test_a_run_goes_up_as_its_last_model_with_the_small_file_and_a_card(finished_run, tmp_path):
    api = FakeApi()
    extra = tmp_path / "model.onnx"
    extra.write_bytes(b"graph")
    summary = push_to_hub(finished_run, "me/sparse", private=True, files=[extra], api=api)
    assert api.created == [("me/sparse", True, True)]
    assert summary.url == "https://hub/me/sparse"
    model = finished_run / "quantize"
    for name in ("config.json", "model.safetensors", "quantization.safetensors", "pruneofa.json", "tokenizer.json"):
        assert api.files[name] == (model / name).read_bytes()
    assert api.files["model.pofa"] == (finished_run / "model.pofa").read_bytes()
    assert api.files["model.onnx"] == b"graph"
    assert not any(name.startswith(".") for name in api.files)
    assert summary.files == {name: len(content) for name, content in sorted(api.files.items())}
    card = ModelCard(api.files["README.md"].decode())
    assert card.data.eval_results[0].metric_type == "accuracy"
    assert card.data.pipeline_tag == "text-classification"
    assert "int8" in card.data.tags
    assert "pruneofa decompress model.pofa model" in card.text
    assert "folder = '.'  # this folder" in card.text


def test_a_model_folder_without_a_card_gets_one_of_what_can_be_counted(small_world, tmp_path):
    api = FakeApi()
    summary = push_to_hub(small_world.model, "mine", api=api)
    assert summary.url == "https://hub/me/mine"
    card = ModelCard(api.files["README.md"].decode())
    assert card.text.strip().startswith("# model\n")
    assert "14,336 weights" in card.text
    assert card.data.eval_results is None
    assert not (small_world.model / "README.md").exists()


def test_a_card_that_is_there_goes_up_as_it_is(finished_run):
    api = FakeApi()
    push_to_hub(finished_run / "quantize", "me/x", api=api, commit_message="hello")
    assert api.files["README.md"] == (finished_run / "quantize" / "README.md").read_bytes()
    assert api.message == "hello"
    assert "model.pofa" not in api.files


def test_a_dry_run_touches_nothing(finished_run):
    summary = push_to_hub(finished_run, "me/x", dry_run=True, api=FakeApi(AssertionError("called")))
    assert summary.url is None
    assert summary.files["model.safetensors"] == (finished_run / "quantize" / "model.safetensors").stat().st_size


def response(status: int) -> HfHubHTTPError:
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, f"{status} from the hub\nmore lines")
    error.response = SimpleNamespace(status_code=status)
    return error


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (LocalTokenNotFoundError("no token"), "asks for a token; log in with `hf auth login` or set HF_TOKEN"),
        (response(401), "asks for a token"),
        (response(403), r"refuses the upload \(403 from the hub\); use a token with the right to write"),
        (response(500), r"refuses the upload \(500 from the hub\); try again later"),
        (OfflineModeIsEnabled("offline"), r"can't be reached or the upload broke off \(offline\); check the network"),
        (TimeoutError(), r"broke off \(TimeoutError\)"),
    ],
)
def test_failures_say_what_to_do(small_world, failure, text):
    with pytest.raises(PruneofaError, match=text):
        push_to_hub(small_world.model, "me/x", api=FakeApi(failure))


def test_what_cannot_be_pushed(small_world, run_copy, tmp_path):
    api = FakeApi(AssertionError("called"))
    with pytest.raises(ConfigurationError, match="REPO is 'a b/c', allowed is 'user/name'"):
        push_to_hub(small_world.model, "a b/c", api=api)
    with pytest.raises(CheckpointError, match="no such folder"):
        push_to_hub(tmp_path / "nothing", "me/x", api=api)
    with pytest.raises(CheckpointError, match="holds neither"):
        push_to_hub(tmp_path, "me/x", api=api)
    with pytest.raises(ConfigurationError, match=r"add_file: '.*nothing' is no file"):
        push_to_hub(small_world.model, "me/x", files=[tmp_path / "nothing"], api=api)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="has the name of a file of the model; rename it"):
        push_to_hub(small_world.model, "me/x", files=[tmp_path / "config.json"], api=api)
    for stage in ("quantize", "transfer"):
        (run_copy / stage / ".stage" / "record.json").unlink()
    with pytest.raises(ConfigurationError, match="a run that has no finished task model"):
        push_to_hub(run_copy, "me/x", api=api)

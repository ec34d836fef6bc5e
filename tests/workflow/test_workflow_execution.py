"""One stage in its folder: done, continued, begun anew, or refused; and what a failure leaves."""

import errno
import json

import pytest

from pruneofa.errors import CheckpointError, ConfigurationError, DataError
from pruneofa.recipe.document import Recipe
from pruneofa.stage_folder import STATE_FOLDER
from pruneofa.workflow.execution import execute
from pruneofa.workflow.record import (
    StageRecord,
    adds_only_defaults,
    changes,
    fingerprint,
    input_fingerprint,
    read_record,
)
from pruneofa.workflow.stage_list import Stage

RECIPE = Recipe.model_validate({"name": "r", "model": {"name_or_path": "m"}, "corpus": {"source": "hub:some/text"}})


def stage_of(run, name="corpus", inputs=("model",)):
    return Stage(name, ("corpus",), inputs, run)


def write_result(recipe, inputs, folder):
    (folder / "result").write_text(inputs["model"])
    return {"figure": 1.5}


def must_not_run(recipe, inputs, folder):
    raise AssertionError("ran")


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_stage_is_not_run_again(tmp_path, caplog):
    caplog.set_level("INFO", logger="pruneofa")
    first = execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "s")
    again = execute(stage_of(must_not_run), RECIPE, {"model": "m"}, tmp_path / "s")
    assert first == again
    assert again.results == {"figure": 1.5}
    assert "corpus: unchanged, skipped" in caplog.messages


def test_only_the_inputs_that_a_stage_names_count(tmp_path):
    stage = stage_of(write_result, inputs=("model", "teacher?"))
    execute(stage, RECIPE, {"model": "m", "corpus": "x"}, tmp_path / "s")
    record = read_record(tmp_path / "s")
    assert record is not None and record.settings["inputs"] == {"model": "m"}
    execute(stage_of(must_not_run, inputs=("model", "teacher?")), RECIPE, {"model": "m"}, tmp_path / "s")
    with pytest.raises(ConfigurationError, match=r"different: inputs\.teacher"):
        execute(stage, RECIPE, {"model": "m", "teacher": "t"}, tmp_path / "s")


def test_a_field_that_came_later_leaves_an_older_run_as_it_is(tmp_path):
    """At its default, which is what was done before; at another value the run is another one."""
    folder = tmp_path / "s"
    execute(stage_of(write_result), RECIPE, {"model": "m"}, folder)
    record = read_record(folder)
    assert record is not None
    del record.settings["corpus"]["validation_fraction"], record.settings["corpus"]["form"]
    record.fingerprint = fingerprint(record.settings)
    record.write(folder)
    kept = execute(stage_of(must_not_run), RECIPE, {"model": "m"}, folder)
    assert kept.fingerprint == record.fingerprint, "what was made from it would count as changed"
    corpus = {"source": "hub:some/text", "validation_fraction": 0.25}
    other = Recipe.model_validate(RECIPE.model_dump(exclude_unset=True) | {"corpus": corpus})
    with pytest.raises(ConfigurationError, match=r"\(different: corpus\.form, corpus\.validation_fraction\)"):
        execute(stage_of(must_not_run), other, {"model": "m"}, folder)
    # What is no field of the recipe has no default.
    del record.settings["inputs"]["model"]
    record.fingerprint = fingerprint(record.settings)
    record.write(folder)
    with pytest.raises(ConfigurationError, match=r"inputs\.model"):
        execute(stage_of(must_not_run), RECIPE, {"model": "m"}, folder)


@pytest.mark.parametrize(
    ("old", "new", "given", "expected"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, {}, False),  # a default that changed changes the run
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1}, False),  # a field that went
        ({"a": None}, {"a": 1}, {}, False),
        ({"s": {"a": 1}}, {"s": {"a": 1, "b": 2}}, {"s": {"a": 1}}, True),
        ({"s": {"a": 1}}, {"s": {"a": 1, "b": 2}}, {}, True),
        ({"s": {"a": 1}}, {"s": {"a": 1, "b": 2}}, {"s": {"b": 2}}, False),
        ({"s": {"a": 1}}, {"s": None}, {}, False),
        ({}, {"s": {"a": 1}}, {"s": {}}, False),
        ({"d": {"x.y": 1}}, {"d": {"x.y": 1, "x.z": 2}}, {"d": {"x.z": 2}}, False),
    ],
)
def test_only_defaults_are_added(old, new, given, expected):
    assert adds_only_defaults(old, new, given) is expected


def test_another_run_of_the_stage_is_kept_unless_replacing_is_asked_for(tmp_path):
    execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "s")
    changed = RECIPE.model_copy(update={"seed": 3})
    with pytest.raises(ConfigurationError, match=r"holds another run of corpus \(different: seed\).*--overwrite"):
        execute(stage_of(must_not_run), changed, {"model": "m"}, tmp_path / "s")
    (tmp_path / "s" / "stale").touch()
    execute(stage_of(write_result), changed, {"model": "m"}, tmp_path / "s", replace_stale=True)
    assert entries(tmp_path / "s") == [STATE_FOLDER, "result"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "letter").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match="holds files that no stage wrote; allowed: an empty folder"):
            execute(stage_of(must_not_run), RECIPE, {"model": "m"}, tmp_path / "s", replace_stale=overwrite)
    execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="holds the stage 'corpus'"):
        execute(stage_of(must_not_run, "teach"), RECIPE, {"model": "m"}, tmp_path / "other", replace_stale=True)
    with pytest.raises(ConfigurationError, match="is a file; give a folder"):
        execute(stage_of(must_not_run), RECIPE, {"model": "m"}, tmp_path / "s" / "letter")
    assert entries(tmp_path / "s") == ["letter"]


@pytest.mark.parametrize("error", [DataError("empty"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_with_nothing_to_go_on_from_leaves_nothing(tmp_path, error, existed):
    def failing(recipe, inputs, folder):
        (folder / "half").touch()
        raise error

    if existed:
        (tmp_path / "s").mkdir()
    with pytest.raises(type(error)):
        execute(stage_of(failing), RECIPE, {"model": "m"}, tmp_path / "s")
    assert entries(tmp_path) == (["s"] if existed else [])
    assert not existed or entries(tmp_path / "s") == []


def test_a_failure_after_a_checkpoint_is_continued(tmp_path, caplog):
    def failing(recipe, inputs, folder):
        (folder / STATE_FOLDER / "checkpoints" / "checkpoint-1").mkdir(parents=True)
        raise DataError("power cut")

    with pytest.raises(DataError):
        execute(stage_of(failing), RECIPE, {"model": "m"}, tmp_path / "s")
    record = read_record(tmp_path / "s")
    assert record is not None and not record.finished
    with pytest.raises(ConfigurationError, match="holds another run of corpus"):
        execute(stage_of(must_not_run), RECIPE, {"model": "other"}, tmp_path / "s")
    (tmp_path / "s" / STATE_FOLDER / ".record.json.a1b2c3_d").touch()  # of a writer that was killed
    caplog.set_level("INFO", logger="pruneofa")
    execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "s")
    assert "corpus: was interrupted, continuing" in caplog.messages
    assert entries(tmp_path / "s" / STATE_FOLDER) == ["record.json"]


def test_a_killed_stage_that_had_done_nothing_does_not_stand_in_the_way(tmp_path):
    StageRecord("corpus", "some other settings", {"seed": 9}).write(tmp_path / "s")
    execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "s")
    assert entries(tmp_path / "s") == [STATE_FOLDER, "result"]


def test_a_full_disk_is_what_is_told_even_when_the_record_fails_too(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def failing(recipe, inputs, folder):
        (folder / STATE_FOLDER / "checkpoints" / "checkpoint-1").mkdir(parents=True)
        monkeypatch.setattr("os.fsync", full)
        raise CheckpointError("the first fault")

    with pytest.raises(CheckpointError, match="the first fault"):
        execute(stage_of(failing), RECIPE, {"model": "m"}, tmp_path / "s")


def test_an_unfinished_stage_is_no_input(tmp_path):
    StageRecord("prune", "x", {}).write(tmp_path / "prune")
    with pytest.raises(ConfigurationError, match=r"model: .* holds a prune stage that was broken off; run that to its"):
        execute(stage_of(must_not_run), RECIPE, {"model": str(tmp_path / "prune")}, tmp_path / "s")


def test_a_checkpoint_to_resume_from_does_not_decide_the_result(tmp_path):
    def wants_checkpoint(recipe, inputs, folder):
        return {"from": inputs["checkpoint"]}

    record = execute(stage_of(wants_checkpoint), RECIPE, {"model": "m", "checkpoint": "c"}, tmp_path / "s")
    assert record.results == {"from": "c"}
    execute(stage_of(must_not_run), RECIPE, {"model": "m"}, tmp_path / "s")


def test_the_files_of_sources_are_part_of_what_decides(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one")
    recipe = Recipe.model_validate(
        {"name": "r", "model": {"name_or_path": "m"}, "corpus": {"source": [str(text), "hub:more/text"]}}
    )
    execute(stage_of(write_result), recipe, {"model": "m"}, tmp_path / "s")
    execute(stage_of(must_not_run), recipe, {"model": "m"}, tmp_path / "s")
    text.write_text("two")
    with pytest.raises(ConfigurationError, match=r"different: files\.corpus\.source"):
        execute(stage_of(must_not_run), recipe, {"model": "m"}, tmp_path / "s")
    text.unlink()
    with pytest.raises(DataError, match="no file or folder"):
        execute(stage_of(must_not_run), recipe, {"model": "m"}, tmp_path / "s")


def test_sources_that_a_name_stands_for_leave_no_files_in_the_settings(tmp_path):
    execute(stage_of(write_result), RECIPE, {"model": "m"}, tmp_path / "s")
    record = read_record(tmp_path / "s")
    assert record is not None and set(record.settings) == {"stage", "seed", "corpus", "inputs"}


def test_an_input_is_known_by_its_stage_by_its_files_or_by_its_name(tmp_path):
    assert input_fingerprint("some/hub-model") == "some/hub-model"
    StageRecord("teach", "abc", {}).write(tmp_path / "stage")
    (tmp_path / "stage" / "model.safetensors").write_bytes(b"x")
    assert input_fingerprint(str(tmp_path / "stage")) == "abc"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "f").write_bytes(b"x")
    before = input_fingerprint(str(tmp_path / "model"))
    (tmp_path / "model" / "f").write_bytes(b"xy")
    assert input_fingerprint(str(tmp_path / "model")) != before


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"stage": "x", "what": 1}', "\x00"])
def test_a_damaged_record_is_told(tmp_path, text):
    StageRecord("teach", "abc", {}).write(tmp_path)
    (tmp_path / STATE_FOLDER / "record.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"no readable record of a stage.*remove the folder and run again"):
        read_record(tmp_path)


def test_changes_are_named_by_their_dotted_keys():
    old, new = {"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 1, "c": 3}, "e": 1}
    assert changes(old, new) == ["a.c", "d", "e"]
    assert json.dumps(changes(old, old)) == "[]"


def test_an_unfinished_stage_goes_on_after_a_change_that_it_can_tell_apart_itself(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("broken")
    recipe = RECIPE.model_copy(update={"corpus": RECIPE.corpus.model_copy(update={"source": str(texts)})})

    def breaks_off(recipe, inputs, folder):
        shard = folder / STATE_FOLDER / "checkpoints" / "shard"
        shard.parent.mkdir(parents=True)
        shard.write_text("half of the work")
        raise DataError("a broken line")

    def goes_on(recipe, inputs, folder):
        return {"found": (folder / STATE_FOLDER / "checkpoints" / "shard").read_text()}

    def stage(run, *may_change):
        return Stage("corpus", ("corpus",), ("model",), run, may_change=may_change)

    with pytest.raises(DataError, match="a broken line"):
        execute(stage(breaks_off), recipe, {"model": "m"}, tmp_path / "s")
    texts.write_text("mended")
    with pytest.raises(ConfigurationError, match=r"different: files\.corpus\.source"):
        execute(stage(goes_on), recipe, {"model": "m"}, tmp_path / "s")
    record = execute(stage(goes_on, "files.corpus.source"), recipe, {"model": "m"}, tmp_path / "s")
    assert record.results == {"found": "half of the work"}
    execute(stage(must_not_run, "files.corpus.source"), recipe, {"model": "m"}, tmp_path / "s")
    texts.write_text("changed after it was finished")
    with pytest.raises(ConfigurationError, match=r"different: files\.corpus\.source"):
        execute(stage(must_not_run, "files.corpus.source"), recipe, {"model": "m"}, tmp_path / "s")

"""A file or folder is there whole, or as it was before."""

import errno
import os
import stat
from pathlib import Path

import pytest

from pruneofa.atomic import remove_leftovers, replacing_file, replacing_folder, write_json, write_text


class BrokenError(Exception):
    pass


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_its_parents_with_it(tmp_path):
    write_text(tmp_path / "a" / "b" / "f.txt", "täxt")
    assert (tmp_path / "a" / "b" / "f.txt").read_bytes() == "täxt".encode()
    assert entries(tmp_path / "a" / "b") == ["f.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "f"
    write_text(path, "old")
    with pytest.raises(BrokenError), replacing_file(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise BrokenError
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_text(path, "old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["f"]


def test_files_and_folders_get_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "f", "x")
        with replacing_folder(tmp_path / "d"):
            pass
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_takes_the_place_of_the_old_one(tmp_path, exists):
    target = tmp_path / "x" / "d"
    if exists:
        target.mkdir(parents=True)
        (target / "old").touch()
    with replacing_folder(target) as temporary:
        (temporary / "new").touch()
        assert target.exists() == exists
    assert entries(target) == ["new"]
    assert entries(tmp_path / "x") == ["d"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_leaves_the_old_folder(tmp_path, exists):
    target = tmp_path / "d"
    if exists:
        target.mkdir()
        (target / "old").touch()
    with pytest.raises(BrokenError), replacing_folder(target) as temporary:
        (temporary / "new").touch()
        raise BrokenError
    assert entries(tmp_path) == (["d"] if exists else [])
    assert not exists or entries(target) == ["old"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "d"
    target.mkdir()
    (target / "old").touch()
    rename = Path.replace

    def failing(self, destination):
        if Path(destination) == target and (self / "new").exists():
            raise OSError(errno.EIO, "broken disk")
        return rename(self, destination)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="broken disk"), replacing_folder(target) as temporary:
        (temporary / "new").touch()
    assert entries(target) == ["old"]
    assert entries(tmp_path) == ["d"]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "f.json", {"x": float("nan")})
    assert entries(tmp_path) == []


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    kept = tmp_path / "stage" / ".stage"
    kept.mkdir(parents=True)
    write_json(kept / "record.json", {})
    (tmp_path / ".hidden").touch()
    writers = (replacing_file(kept / "record.json"), replacing_folder(tmp_path / "stage" / "model"))
    _, folder = [writer.__enter__() for writer in writers]  # and never ended, as if the process were killed
    (folder / "part").touch()
    assert len(list(tmp_path.rglob(".*.*"))) == 2
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", ".stage", "record.json", "stage"]

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pruneofa.training.trainer.checkpoints import (
    MANIFEST_NAME,
    STAGING_PREFIX,
    checkpoints,
    fault,
    latest_checkpoint,
    publish,
    remove_staging,
    rotate,
    seal,
)


def write(run: Path, step: int) -> Path:
    staged = run / f"{STAGING_PREFIX}{step}" / f"checkpoint-{step}"
    (staged / "parts").mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(bytes(range(100)) + bytes([step % 256]))
    (staged / "parts" / "state.json").write_text("{}")
    seal(staged, step)
    publish(staged, run / staged.name)
    remove_staging(run)
    return run / staged.name


def rewrite_manifest(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST_NAME).read_text())
        changed = change(manifest)
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest if changed is None else changed))

    return damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "altered": (lambda at: flip(at / "model.safetensors"), "model.safetensors was altered: its SHA-256 is not"),
    "truncated": (
        lambda at: (at / "model.safetensors").write_bytes(b"short"),
        "model.safetensors has 5 bytes, 101 were written",
    ),
    "file missing": (lambda at: (at / "parts" / "state.json").unlink(), "parts/state.json is missing"),
    "folder in its place": (
        lambda at: ((at / "model.safetensors").unlink(), (at / "model.safetensors").mkdir()),
        "model.safetensors has",
    ),
    "manifest missing": (lambda at: (at / MANIFEST_NAME).unlink(), "checkpoint.json is missing or unreadable"),
    "manifest truncated": (
        lambda at: (at / MANIFEST_NAME).write_text((at / MANIFEST_NAME).read_text()[:-20]),
        "checkpoint.json is missing or unreadable",
    ),
    "manifest empty": (lambda at: (at / MANIFEST_NAME).write_text(""), "is missing or unreadable"),
    "manifest of zeros": (lambda at: (at / MANIFEST_NAME).write_bytes(bytes(500)), "is missing or unreadable"),
    "manifest nested deep": (lambda at: (at / MANIFEST_NAME).write_text("[" * 100_000), "is missing or unreadable"),
    "manifest huge": (lambda at: (at / MANIFEST_NAME).write_bytes(b" " * (2**24 + 1)), "is missing or unreadable"),
    "manifest a list": (rewrite_manifest(lambda manifest: [manifest]), "is missing or unreadable"),
    "lists no file": (rewrite_manifest(lambda manifest: manifest.update(files={})), "is missing or unreadable"),
    "files a list": (rewrite_manifest(lambda manifest: manifest.update(files=["a"])), "is missing or unreadable"),
    "entry no mapping": (rewrite_manifest(lambda manifest: manifest["files"].update(a=3)), "is missing or unreadable"),
    "entry without hash": (
        rewrite_manifest(lambda manifest: manifest["files"].update(a={"bytes": 3})),
        "is missing or unreadable",
    ),
    "another version": (rewrite_manifest(lambda manifest: manifest.update(format_version=2)), "missing or unreadable"),
    "path outside": (
        rewrite_manifest(lambda manifest: manifest["files"].update({"../x": {"bytes": 0, "sha256": ""}})),
        "is missing or unreadable",
    ),
    "absolute path": (
        rewrite_manifest(lambda manifest: manifest["files"].update({"/etc/hosts": {"bytes": 0, "sha256": ""}})),
        "is missing or unreadable",
    ),
    "path with a zero byte": (
        rewrite_manifest(lambda manifest: manifest["files"].update({"a\0b": {"bytes": 0, "sha256": ""}})),
        "is missing or unreadable",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_passed_over_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    earlier, later = write(tmp_path, 10), write(tmp_path, 200)
    assert latest_checkpoint(tmp_path) == later
    act, told = DAMAGES[damage]
    act(later)
    problem = fault(later)
    assert problem is not None
    assert told in problem
    with caplog.at_level(logging.WARNING):
        assert latest_checkpoint(tmp_path) == earlier
    assert caplog.messages == [f"checkpoint {later} is damaged ({problem}); trying the one before"]


def test_no_sound_checkpoint(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nowhere") is None
    (write(tmp_path, 3) / MANIFEST_NAME).unlink()
    assert latest_checkpoint(tmp_path) is None


def test_checkpoints_are_ordered_by_step_and_nothing_else_is_one(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write(tmp_path, step)
    for other in ("checkpoint-", "checkpoint-1x", "my-checkpoint-5", "checkpoint-best", f"{STAGING_PREFIX}400"):
        (tmp_path / other).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-100", "checkpoint-20", "checkpoint-9"]


def test_moved_checkpoint_stays_sound(tmp_path: Path) -> None:
    moved = shutil.copytree(write(tmp_path, 7), tmp_path / "elsewhere" / "mine")
    assert fault(moved) is None


def test_publish_replaces_an_older_folder(tmp_path: Path) -> None:
    (write(tmp_path, 5) / "left over").write_text("x")
    final = write(tmp_path, 5)
    assert fault(final) is None
    assert not (final / "left over").exists()


def test_rotation_keeps_the_newest(tmp_path: Path) -> None:
    written = [write(tmp_path, step) for step in (2, 4, 6, 8, 10)]
    rotate(written[-1], 2)
    assert checkpoints(tmp_path) == [written[4], written[3]]
    rotate(written[-1], 1)
    assert checkpoints(tmp_path) == [written[4]]


def test_rotation_keeps_the_best(tmp_path: Path) -> None:
    written = [write(tmp_path, step) for step in (2, 4, 6)]
    rotate(written[-1], 1, also_keep=written[0])
    assert checkpoints(tmp_path) == [written[2], written[0]]


@pytest.mark.parametrize("keep", [1, 2])
def test_rotation_never_keeps_a_later_checkpoint_instead_of_the_newest(keep: int, tmp_path: Path) -> None:
    written = {step: write(tmp_path, step) for step in (10, 12, 20, 30)}
    (written[30] / "model.safetensors").unlink()
    rotate(written[12], keep)
    assert checkpoints(tmp_path) == [written[12], written[10]][:keep]


def test_staging_is_removed_and_nothing_else(tmp_path: Path) -> None:
    final = write(tmp_path, 5)
    (tmp_path / f"{STAGING_PREFIX}6" / "checkpoint-6").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    remove_staging(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [final.name, "notes"]
    remove_staging(tmp_path / "nowhere")

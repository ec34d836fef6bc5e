"""No room at any place of a checkpoint's writing: the checkpoints before it stay, and the run goes on from them."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from training_runs import TRAINING, folders, make_trainer, outcome

from pruneofa.errors import CheckpointError
from pruneofa.training.trainer import checkpoints
from pruneofa.training.trainer import sparse_trainer as trainer_module
from pruneofa.training.trainer.checkpoints import fault
from pruneofa.training.trainer.sparse_trainer import SparseTrainer

pytestmark = pytest.mark.slow

QUIET = TRAINING.model_copy(update={"eval_steps": None})
FULL_AT = 6

# Every function that writes a part of a checkpoint: where it is found, and under which name.
WRITERS: dict[str, Callable[[SparseTrainer], Any]] = {
    "save_model": lambda trainer: trainer,
    "_save_optimizer_and_scheduler": lambda trainer: trainer,
    "_save_rng_state": lambda trainer: trainer,
    "_save_own_state": lambda trainer: trainer,
    "save_pruner": lambda trainer: trainer_module,
    "seal": lambda trainer: checkpoints,
}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: real write errors in Python, Rust and C++ alike (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    trainer = make_trainer("prune", tmp_path_factory.mktemp("whole"), QUIET)
    trainer.train()
    return outcome(trainer)


# A file's first byte, or its middle: where its size allows for that.
@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("writer", WRITERS)
def test_no_room_while_a_part_is_written(
    writer: str, room: int, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("prune", tmp_path, QUIET)
    home = WRITERS[writer](trainer)
    write, calls = getattr(home, writer), []

    def starved(*args: Any, **kwargs: Any) -> Any:
        if trainer.state.global_step != FULL_AT:
            return write(*args, **kwargs)
        calls.append(1)
        with largest_file(room):
            return write(*args, **kwargs)

    monkeypatch.setattr(home, writer, starved)
    with pytest.raises(CheckpointError) as caught:
        trainer.train()
    assert calls
    last = tmp_path / "checkpoint-4"
    assert str(caught.value).startswith(f"the checkpoint of step {FULL_AT} can't be written to {tmp_path}: ")
    assert str(caught.value).endswith(f"The last sound one is {last}; make room there and start the same command again")
    assert folders(tmp_path) == ["checkpoint-2", "checkpoint-4"]
    assert fault(last) is None
    monkeypatch.undo()
    resumed = make_trainer("prune", tmp_path, QUIET)
    resumed.train(resume_from_checkpoint=True)
    assert outcome(resumed) == whole


def test_every_part_of_a_checkpoint_has_its_writer_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the functions above write is all that there is, beside the library's small state."""
    trainer = make_trainer("prune", tmp_path, QUIET)
    written: set[str] = set()
    for writer, place in WRITERS.items():
        home = place(trainer)
        write = getattr(home, writer)

        def watched(*args: Any, _write: Any = write, **kwargs: Any) -> Any:
            before = {path.name for path in tmp_path.rglob("*")}
            result = _write(*args, **kwargs)
            written.update({path.name for path in tmp_path.rglob("*")} - before)
            return result

        monkeypatch.setattr(home, writer, watched)
    trainer.train()
    files = {path.name for path in (tmp_path / "checkpoint-10").iterdir()}
    assert files - written == {"trainer_state.json"}

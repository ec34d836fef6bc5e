"""The processes of one run (torchrun): who this one is, and what the first does for all.

Nothing here imports torch before it is needed; in a run of one process every function is the identity.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pruneofa.errors import PruneofaError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_LAUNCHER_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

# The first rank may build a corpus or evaluate for hours while the others wait.
_LONGEST_WAIT = timedelta(days=30)
# A step, or the writing of a checkpoint by the first rank.
_LONGEST_COLLECTIVE = timedelta(minutes=60)

_first_is_alone: ContextVar[bool] = ContextVar("first_is_alone", default=False)
_ranges_are_joint: ContextVar[bool] = ContextVar("ranges_are_joint", default=False)
# The process group that was current, and the group over which its ranks wait for the first.
_waiting: tuple[Any, Any] = (None, None)


class FirstRankError(PruneofaError, RuntimeError):
    """The first rank failed at something that it did for all; its own error says why."""


def rank() -> int:
    """Number of this process among all of the run, from 0."""
    group = _process_group()
    return int(group.get_rank()) if group is not None else int(_launched("RANK", 0))


def world_size() -> int:
    """Number of processes of the run; 1 without a launcher."""
    group = _process_group()
    return int(group.get_world_size()) if group is not None else int(_launched("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def join() -> None:
    """Meet the other processes that torchrun started; no effect in a run of one process, or when called again.

    One GPU for each process where there are GPUs (nccl), the CPU otherwise (gloo).
    """
    if world_size() == 1 or _process_group() is not None:
        return
    import torch
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # torchrun keeps one store over its restarts, and with it the addresses of processes that are gone.
    store, number, size = next(rendezvous("env://", timeout=_LONGEST_COLLECTIVE))
    attempt = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-of-{size}"
    torch.distributed.init_process_group(
        store=PrefixStore(attempt, store), rank=number, world_size=size, timeout=_LONGEST_COLLECTIVE
    )


def has_joined() -> bool:
    """Whether this process has met others, so that what it does may concern them."""
    return _process_group() is not None


def be_alone() -> None:
    """Be a run of one process from here on, though torchrun started several; only before `join`."""
    for name in _LAUNCHER_NAMES:
        os.environ.pop(name, None)


def leave() -> None:
    """Part from the other processes, so that none ends while another still needs it."""
    global _waiting
    group = _process_group()
    if group is not None:
        # The last hold on a group ends its threads; at the interpreter's own end that now and then aborts the process.
        _waiting = (None, None)
        group.destroy_process_group()


def on_first(function: Callable[[], T]) -> T:
    """Call `function` on the first rank alone; the others wait for its result, however long that takes.

    Every rank must call this at the same place; within `function` it means no more than a call. The result is pickled
    on its way to the others.

    Raises:
        FirstRankError: on the other ranks, when the function failed; on the first rank its own error is raised.
    """
    if world_size() == 1 or _first_is_alone.get():
        return function()
    join()
    dist = _process_group()
    box: list[Any] = [None, None]
    if not is_first():
        dist.broadcast_object_list(box, src=0, group=_waiting_group(dist))
        if box[1] is not None:
            raise FirstRankError(box[1])
        return box[0]  # type: ignore[no-any-return]
    group = _waiting_group(dist)
    token = _first_is_alone.set(True)
    try:
        box[0] = function()
    except BaseException as error:
        with contextlib.suppress(Exception):  # the error itself must not be hidden by ranks that are gone
            dist.broadcast_object_list([None, f"{type(error).__name__}: {error}"], src=0, group=group)
        raise
    finally:
        _first_is_alone.reset(token)
    dist.broadcast_object_list(box, src=0, group=group)
    return box[0]  # type: ignore[no-any-return]


@contextlib.contextmanager
def joint_ranges(joint: bool = True) -> Iterator[None]:
    """Within the block `global_extremes` are of all ranks; all must then ask for the same ones in the same order.

    Outside of it they are of this process alone, so that one rank may run what it likes.
    """
    token = _ranges_are_joint.set(joint and world_size() > 1)
    try:
        yield
    finally:
        _ranges_are_joint.reset(token)


def global_extremes(low: "Tensor", high: "Tensor") -> "tuple[Tensor, Tensor]":
    """The smallest `low` and the largest `high` of all ranks, within `joint_ranges`; infinite where one is no number.

    The range of an activation over a batch that is split among ranks is then that of the whole batch.
    """
    if not _ranges_are_joint.get():
        return low, high
    import torch

    bounds = torch.stack([-low, high])
    bounds = torch.where(bounds.isnan(), torch.inf, bounds)  # a maximum may lose a NaN, but no infinity
    torch.distributed.all_reduce(bounds, torch.distributed.ReduceOp.MAX)
    return -bounds[0], bounds[1]


def _launched(name: str, default: int) -> int:
    """What torchrun says in the environment; other programs set WORLD_SIZE too, so all of its names must be there."""
    return int(os.environ[name]) if all(key in os.environ for key in _LAUNCHER_NAMES) else default


def _process_group() -> Any:
    """`torch.distributed` when this process is joined to others, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed


def _waiting_group(dist: Any) -> Any:
    """A group over the CPU that waits for long; made once."""
    global _waiting
    if _waiting[0] is not dist.group.WORLD:
        _waiting = (dist.group.WORLD, dist.new_group(backend="gloo", timeout=_LONGEST_WAIT))
    return _waiting[1]

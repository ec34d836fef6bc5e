"""Whether the Hugging Face hub answers, asked once and without patience.

Its own client asks for every file six times with growing pauses, half a minute in all, before it says that there is no
network; a mistyped folder, which may always be a hub name too, would take that long to be told.
"""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cached_model", "hub_fault", "only_cached_if_unreachable"]

# How long the hub's answer, or its absence, is taken for granted.
_REMEMBERED_SECONDS = 60.0


def hub_fault() -> str | None:
    """Why the hub can't be asked now, in a few words; None where it answers."""
    from huggingface_hub import is_offline_mode

    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    return _fault_at(int(time.monotonic() / _REMEMBERED_SECONDS))


@functools.lru_cache(maxsize=1)
def _fault_at(_period: int) -> str | None:
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the transport's errors have no base in common over the client's versions
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None


def cached_model(name: str) -> Path | None:
    """The folder in which the hub's cache has a model, if it does; asks no network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


@contextmanager
def only_cached_if_unreachable() -> Iterator[str | None]:
    """Within the block, data sets come from the cache at once where the hub can't be reached, or not at all.

    Yields:
        `hub_fault()`.
    """
    fault = hub_fault()
    if fault is None:
        yield None
        return
    import datasets
    from huggingface_hub import constants

    # Both libraries read this anew at every request; their arguments for it do not reach all requests.
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield fault
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before

"""The hub is asked once, without patience; what its cache holds serves where it can't be reached."""

import time

import datasets
import huggingface_hub
import pytest

from pruneofa.data.sources import hub_access
from pruneofa.data.sources.hub_access import cached_model, hub_fault, only_cached_if_unreachable
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.data.sources.reading import read_rows
from pruneofa.errors import CheckpointError, DataError


class _Session:
    """Counts requests; answers, or fails as a client without a network does."""

    def __init__(self, fault=None):
        self.requests, self.fault = 0, fault

    def head(self, url, timeout):
        assert url.startswith("http") and timeout > 0
        self.requests += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def session(monkeypatch):
    """Puts a session in the client's place, outside of its offline mode."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    hub_access._fault_at.cache_clear()

    def use(fault=None):
        found = _Session(fault)
        monkeypatch.setattr(huggingface_hub, "get_session", lambda: found)
        return found

    yield use
    hub_access._fault_at.cache_clear()


def test_an_unreachable_hub_is_asked_once(session):
    asked = session(OSError("Name or service not known\nmore"))
    for _ in range(3):
        with pytest.raises(CheckpointError, match=r"can't be reached \(Name or service not known\)"):
            resolve_model("nobody/nothing")
    assert asked.requests == 1


def test_the_network_may_come_back(session, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    session(OSError("down"))
    assert hub_fault() == "down"
    session()
    assert hub_fault() == "down"
    clock[0] += 61
    assert hub_fault() is None and resolve_model("nobody/nothing") == "nobody/nothing"


def test_an_error_without_words_is_named(session):
    session(TimeoutError())
    assert hub_fault() == "TimeoutError"


def test_a_cached_model_serves_without_a_network(session, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    session(OSError("down"))
    assert resolve_model("some/model") == str(snapshot)
    assert cached_model("other/model") is None and cached_model("no name/") is None


def test_a_data_set_without_a_network_is_one_error_at_once(session):
    asked = session(OSError("down"))
    with pytest.raises(DataError, match=r"hub:nobody/nothing: can't be loaded .*can't be reached \(down\)"):
        list(read_rows("hub:nobody/nothing"))
    assert asked.requests == 1


def test_libraries_are_as_before_after_the_block(session):
    session(OSError("down"))
    with pytest.raises(KeyError), only_cached_if_unreachable() as fault:
        assert fault == "down" and huggingface_hub.is_offline_mode() and datasets.config.HF_HUB_OFFLINE
        raise KeyError
    assert not huggingface_hub.is_offline_mode() and not datasets.config.HF_HUB_OFFLINE
    hub_access._fault_at.cache_clear()
    session()
    with only_cached_if_unreachable():
        assert not huggingface_hub.is_offline_mode()

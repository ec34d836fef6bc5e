"""Settings and peers."""

import importlib.util

import pytest

from pruneofa.benchmarking import peers
from pruneofa.benchmarking.config import BenchConfig
from pruneofa.errors import ConfigurationError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peers": ["tensorrt"]}, "'tensorrt' is no runtime to compare with; allowed: onnxruntime, openvino, torch"),
        ({"lengths": []}, "at least 1 item"),
        ({"batches": [0]}, "greater than or equal to 1"),
        ({"threads": [1, 1]}, r"is \[1, 1\]; name each once"),
        ({"length": 3}, "unknown key"),
    ],
)
def test_faults_are_named(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        BenchConfig.model_validate(settings)


def test_the_engine_may_run_alone():
    assert BenchConfig(peers=()).peers == ()
    peers.require_peers(())


def test_a_missing_peer_is_told_with_what_installs_it(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None if name == "openvino" else there(name))
    assert peers.missing_packages("openvino") == ["openvino"]
    with pytest.raises(ConfigurationError, match=r"'openvino' is not installed; install it with pip install 'pruneofa"):
        peers.require_peers(["torch", "openvino"])

"""Faults of a config are this package's own error, and say key, value and what is allowed."""

import copy
import pickle

import pytest

import pruneofa
from pruneofa.errors import ConfigurationError, PruneofaError
from pruneofa.settings.base import Settings, checked
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.training.sections import TransferSection


def test_one_fault_is_one_line() -> None:
    with pytest.raises(PruneofaError) as caught:
        SparsityConfig(target_sparsity=1.5)
    assert isinstance(caught.value, ConfigurationError)
    assert str(caught.value) == (
        "SparsityConfig: target_sparsity: is 1.5; allowed: less than 1 (share of zeros in the end, below 1)"
    )


def test_all_faults_are_told_at_once_and_a_misspelt_key_with_the_right_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        SparsityConfig(target_sparsity="much", target=0.9, end_step=-1)  # type: ignore[call-arg, arg-type]
    first, *faults = str(caught.value).splitlines()
    assert first == "SparsityConfig: 3 faults"
    assert "target: unknown key; did you mean 'targets'?" in str(caught.value)
    assert not any("http" in fault or "pydantic" in fault for fault in faults)


@pytest.mark.parametrize("name", [name for name in pruneofa.__all__ if name.endswith("Config")])
def test_every_public_config_refuses_an_unknown_key_in_the_same_way(name: str) -> None:
    config = getattr(pruneofa, name)
    assert issubclass(config, Settings)
    with pytest.raises(ConfigurationError, match=f"{name}: nonsense: unknown key; "):
        config(nonsense=1)
    with pytest.raises(ConfigurationError, match=f"{name}: nonsense: unknown key; "):
        config.model_validate({"nonsense": 1})
    with pytest.raises(ConfigurationError, match=f"{name}: "):
        config.model_validate_json("no JSON")


def test_a_fault_in_a_section_is_told_with_its_whole_path() -> None:
    for make in (lambda values: TransferSection(**values), TransferSection.model_validate):
        with pytest.raises(ConfigurationError) as caught:
            make({"sparsity": {"target_sparsity": 2.0}, "training": {"max_steps": 0}, "lock": "perhaps"})
        told = [line.split(": ")[0].strip() for line in str(caught.value).splitlines()[1:]]
        assert sorted(told) == ["lock", "sparsity.target_sparsity", "training.max_steps"]


def test_a_document_is_told_by_its_origin_and_flags() -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked(SparsityConfig, {"target_sparsity": 3}, "my file", {"target_sparsity": "--target_sparsity"})
    assert str(caught.value).startswith("my file: 1 fault\n  --target_sparsity (target_sparsity): is 3; allowed: ")


def test_configs_are_copied_and_pickled() -> None:
    config = SparsityConfig(target_sparsity=0.5)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == SparsityConfig(**config.model_dump())

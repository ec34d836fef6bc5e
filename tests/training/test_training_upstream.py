"""What is overridden of transformers' Trainer is as it was when it was tried: a new release is told by method."""

import ast
import inspect
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import transformers
from transformers import Trainer

import pruneofa
from pruneofa.training.trainer import upstream
from pruneofa.training.trainer.sparse_trainer import SparseTrainer
from pruneofa.training.trainer.upstream import PRIVATE_STATE, SIGNATURES, TRIED_WITH, AdaptedTrainer

SOURCE = inspect.getsource(Trainer)


def plain(function):
    """A signature without annotations."""
    found = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def own_classes():
    return [found for found in SparseTrainer.__mro__ if found.__module__.startswith("pruneofa.")]


def changed(trainer):
    """What to look at in the adapter: name of each method -> what it was, and what it is."""
    faults = {}
    for name, recorded in SIGNATURES.items():
        found = getattr(trainer, name, None)
        if found is None or plain(found) != recorded:
            faults[name] = (recorded, "it is gone" if found is None else plain(found))
    return faults


def test_every_overridden_method_has_the_signature_that_was_recorded():
    faults = changed(Trainer)
    assert not faults, (
        f"transformers {version('transformers')} changed what training/trainer/upstream.py overrides since "
        f"{TRIED_WITH['transformers']}: {faults}; look at each, then record it and the release"
    )


def test_a_changed_or_lost_method_is_named():
    class Newer(Trainer):
        _load_best_model = None

        def _save_checkpoint(self, model, trial, metrics=None):
            pass

    assert changed(Newer) == {
        "_load_best_model": ("(self)", "it is gone"),
        "_save_checkpoint": ("(self, model, trial)", "(self, model, trial, metrics=None)"),
    }


def test_the_record_is_of_what_is_overridden():
    overridden = {
        name
        for found in own_classes()
        for name, value in vars(found).items()
        if callable(value) and name in dir(Trainer) and not name.startswith("__")
    }
    assert overridden == set(SIGNATURES)


@pytest.mark.parametrize("name", PRIVATE_STATE)
def test_the_state_that_is_read_or_set_is_still_there(name):
    assert re.search(rf"\bself\.{name}\b", SOURCE), f"transformers' Trainer has no {name} any more"


def test_the_adapter_alone_knows_private_names_of_the_library():
    private = {name for name in dir(Trainer) if name.startswith("_") and not name.startswith("__")}
    private |= set(re.findall(r"\bself\.(_[a-z]\w*) = ", SOURCE))
    assert {name for name in SIGNATURES if name.startswith("_")} <= private
    for path in sorted((Path(pruneofa.__file__).parent / "training").rglob("*.py")):
        if path == Path(upstream.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        named |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not named & private, path


def test_no_name_of_ours_is_one_of_the_librarys():
    ours = {name for name in vars(AdaptedTrainer) if not name.startswith("_")}
    assert not ours & set(dir(Trainer))


@pytest.mark.parametrize("package", TRIED_WITH)
def test_the_releases_are_named_in_the_adapter(package):
    assert re.fullmatch(r"\d+\.\d+\.\d+", TRIED_WITH[package])
    assert tuple(map(int, version(package).split(".")[:1])) == tuple(map(int, TRIED_WITH[package].split(".")[:1]))


def test_one_device_is_used_by_a_process_that_sees_more(tmp_path):
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    arguments._n_gpu = 4
    upstream.use_one_device(arguments)
    assert arguments.n_gpu == 1

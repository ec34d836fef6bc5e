"""The list of stages: what derives from it, and that nothing else in the package lists stages."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import pruneofa
from pruneofa.recipe.document import Recipe
from pruneofa.workflow.stage_list import ON_CORPUS, ON_TASK, PRETRAINING, STAGES, STEPS, TRAINING

ROOT = Path(pruneofa.__file__).parent


def test_groups_follow_from_what_stages_read():
    assert ON_CORPUS == ("teach", "prune", "prune_embedder")
    assert ON_TASK == ("finetune", "transfer", "quantize")
    assert (*ON_CORPUS, *ON_TASK) == TRAINING
    assert PRETRAINING == ("corpus", "teach", "prune", "one_shot", "prune_embedder")


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.name)
def test_a_stage_is_a_module_and_parts_of_a_recipe(stage):
    assert callable(import_module(f"pruneofa.stages.{stage.name}").run)
    assert set(stage.sections) <= set(Recipe.model_fields)
    assert bool(stage.about) == stage.trains


def test_what_a_stage_reads_is_provided_before():
    provided = {"model", "dense", "sparse", "teacher"}
    for step in STEPS:
        assert {name.rstrip("?") for name in step.stage.inputs} <= provided, step.stage.name
        assert set(step.sections) <= set(Recipe.model_fields)
        provided |= set(step.provides)


def test_stages_are_listed_once():
    names = {step.stage.name for step in STEPS}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name == "stage_list.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple | ast.List | ast.Set):
                words = {part.value for part in node.elts if isinstance(part, ast.Constant)}
                assert len(words & names) < 2, f"{path}:{node.lineno}: derive it from workflow/stage_list.py"

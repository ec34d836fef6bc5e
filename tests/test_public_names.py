"""The researcher's door: every public name is there, documented, and costs nothing until it is used."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

import pruneofa

# Typer itself loads pydantic where it is installed, so for the command line our own recipe module stands for it.
HEAVY = ["torch", "transformers", "pruneofa.recipe.document", "datasets", "numpy", "matplotlib"]


@pytest.mark.parametrize("name", pruneofa.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(pruneofa, name)
    if name == "__version__":
        assert value.count(".") == 2
        return
    assert (inspect.getdoc(value) or "").strip()
    assert value.__doc__ is not None  # its own, not one inherited from a library


def test_dir_lists_the_public_names():
    assert set(pruneofa.__all__) <= set(dir(pruneofa))


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'Prunner'.*Pruner"):
        _ = pruneofa.Prunner


def test_every_public_module_class_and_function_is_documented():
    root = Path(pruneofa.__file__).parent
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def imports_of_the_pages():
    """Every `from pruneofa... import ...` in a Python block of README and the docs: module and names."""
    root = Path(__file__).parents[1]
    for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "pruneofa":
                    yield page.name, node.module, [alias.name for alias in node.names]


def test_what_the_pages_import_is_there():
    found = list(imports_of_the_pages())
    assert {"README.md", "engine.md"} <= {page for page, _, _ in found}
    for page, module, names in found:
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{page}: from {module} import {name}"


def test_the_package_catches_its_own_errors():
    assert issubclass(pruneofa.DataError, pruneofa.PruneofaError)
    assert pruneofa.CheckpointError is importlib.import_module("pruneofa.errors").CheckpointError


def imported_by(shell, code):
    """Those of the heavy libraries that are loaded after `code`."""
    program = f"import sys, json\n{code}\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    outcome = shell("-c", program)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out.splitlines()[-1])


def test_importing_the_package_loads_nothing_heavy(shell):
    assert imported_by(shell, "import pruneofa\nassert 'pydantic' not in sys.modules") == []


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["transfer", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(shell, arguments):
    code = (
        f"sys.argv = ['pruneofa', *{arguments}]\n"
        "from pruneofa.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
    )
    assert imported_by(shell, code) == []


@pytest.mark.parametrize("module", ["pruneofa.checkpoint.reader", "pruneofa.checkpoint.inspection"])
def test_reading_a_compressed_file_needs_numpy_alone(shell, module):
    assert imported_by(shell, f"import {module}") == ["numpy"]

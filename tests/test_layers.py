"""The floors of the house: nothing imports upwards, and there are no circles."""

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from pages.imports import ROOT, import_graph

GROUND = {
    "errors",
    "settings",
    "atomic",
    "machine",
    "cores",
    "terminal",
    "allocator",
    "ranks",
    "native",
    "stage_folder",
    "log_lines",
    "question_windows",
    "texts",
}

# What each part may import beside the ground and itself. `package` is the lazy front door of __init__.py.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "settings": set(),
    "atomic": set(),
    "machine": set(),
    "cores": set(),
    "terminal": set(),
    "allocator": set(),
    "ranks": set(),
    "native": set(),
    "log_lines": set(),
    "stage_folder": {"atomic", "ranks"},
    "question_windows": set(),
    "texts": set(),
    # The ground floor: each knows nothing of the others.
    "architectures": set(),
    "checkpoint": set(),
    "data": set(),
    "distillation": set(),
    "reporting": set(),
    "demo": {"data"},
    "sparsity": {"architectures"},
    "quantization": {"architectures", "checkpoint"},
    "folder": {"checkpoint"},
    "engine": {"architectures", "checkpoint", "folder"},
    "models": {"architectures", "checkpoint", "data", "engine", "folder", "quantization", "sparsity"},
    "export": {"architectures", "checkpoint", "folder", "models", "quantization", "package"},
    "training": {"architectures", "data", "distillation", "models", "quantization", "sparsity"},
    "evaluation": {"data", "engine"},
    "serving": {"data", "engine"},
    "benchmarking": {"architectures", "checkpoint", "engine", "export", "models", "quantization"},
    "recipe": {"benchmarking", "data", "distillation", "quantization", "sparsity", "training"},
    "stages": {
        *("architectures", "benchmarking", "checkpoint", "data", "engine", "export", "models", "quantization"),
        *("recipe", "reporting", "sparsity", "training"),
    },
    "workflow": {
        *("checkpoint", "data", "models", "quantization", "recipe", "reporting", "sparsity", "stages", "training"),
        *("architectures", "package"),
    },
    "planning": {"architectures", "data", "distillation", "models", "recipe", "sparsity", "training", "workflow"},
    "cli": {
        "sparsity",
        *(
            "benchmarking",
            "checkpoint",
            "data",
            "engine",
            "evaluation",
            "export",
            "models",
            "planning",
            "recipe",
            "reporting",
        ),
        *("serving", "stages", "training", "workflow", "package"),
    },
    "__main__": {"cli"},
    # Each name is imported when it is asked for, from a module below the workflow.
    "package": {"sparsity", "distillation", "quantization", "training", "models", "engine"},
}


EDGES = import_graph()


def test_every_part_has_its_floor():
    assert set(EDGES) == set(ALLOWED)


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_from_below(part):
    wrong = {imported: files for imported, files in EDGES[part].items() if imported not in ALLOWED[part] | GROUND}
    assert not wrong, f"{part} imports upwards or sideways: {wrong}"


def test_the_ground_stands_on_the_ground():
    for part in GROUND:
        assert set(EDGES[part]) <= GROUND


def test_there_are_no_circles():
    done: list[str] = []

    def visit(part: str, path: tuple[str, ...]) -> None:
        assert part not in path, f"a circle: {' -> '.join([*path, part])}"
        if part not in done:
            for imported in EDGES[part]:
                # The front door is lazy: what stands above imports it only for the version.
                if imported != "package":
                    visit(imported, (*path, part))
            done.append(part)

    for part in EDGES:
        visit(part, ())


def test_from_the_front_door_others_take_the_version_alone():
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "pruneofa":
                modules = {file.stem for file in ROOT.glob("*.py")} | {file.name for file in ROOT.iterdir()}
                assert {alias.name for alias in node.names} <= modules | {"__version__"}, path


def test_this_test_sees_imports_inside_functions():
    assert "export" in EDGES["stages"]  # by `evaluate`, only for an ONNX file
    assert "quantization" in EDGES["training"]  # imported by the callback only when observers are frozen


def test_library_code_never_prints_nor_parses_arguments():
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] == "cli":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" not in called, path
        assert not {"argparse", "typer", "click"} & {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }, path


def test_files_and_folders_stay_small():
    for path in sorted(ROOT.rglob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
    for folder in {path.parent for path in ROOT.rglob("*.py")}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 20, f"{folder}: {len(modules)} modules side by side"

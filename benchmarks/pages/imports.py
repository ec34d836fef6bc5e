"""Which part of the package imports which: read from the source, also inside functions and under TYPE_CHECKING."""

import ast
from functools import cache
from pathlib import Path

import pruneofa

__all__ = ["ROOT", "direct_imports", "floors", "import_graph", "imports_of", "unit_of"]

ROOT = Path(pruneofa.__file__).parent

Graph = dict[str, dict[str, set[str]]]
"""Part -> part that it imports -> files that do."""


def unit_of(module: str) -> str:
    """The part that a dotted module name belongs to; "package" is the lazy front door of `__init__.py`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "package"


def imports_of(path: Path) -> set[str]:
    """Modules of this package that a file names in any import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / (name.replace(".", "/") + ".py")).exists()
                is_package = (ROOT.parent / name.replace(".", "/") / "__init__.py").exists()
                found.add(name if is_module or is_package else str(node.module))
    return {name for name in found if name.split(".")[0] == "pruneofa"}


def import_graph() -> Graph:
    """All parts, rooms and single files alike."""
    edges: Graph = {}
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        part = relative.parts[0].removesuffix(".py")
        part = "package" if part == "__init__" else part
        for module in imports_of(path):
            if (imported := unit_of(module)) != part:
                edges.setdefault(part, {}).setdefault(imported, set()).add(str(relative))
        edges.setdefault(part, {})
    for home in pruneofa._HOMES.values():
        edges["package"].setdefault(unit_of(home), set()).add("__init__.py")
    return edges


def direct_imports(graph: Graph) -> dict[str, list[str]]:
    """Room -> rooms that it imports and reaches through no other one. Rooms are the folders of the package."""
    rooms = sorted(part for part in graph if (ROOT / part).is_dir())
    imported = {room: {other for other in graph[room] if other in rooms} for room in rooms}

    @cache
    def below(room: str) -> frozenset[str]:
        return frozenset(imported[room]).union(*(below(other) for other in imported[room]))

    return {
        room: sorted(other for other in imported[room] if not any(other in below(third) for third in imported[room]))
        for room in rooms
    }


def floors(direct: dict[str, list[str]]) -> dict[str, int]:
    """Room -> its floor: one above the highest that it stands on."""

    @cache
    def floor(room: str) -> int:
        return 1 + max((floor(other) for other in direct[room]), default=-1)

    return {room: floor(room) for room in direct}

"""No module stands on itself by way of others: not as it is imported, nor inside a function, nor for its types."""

import graphlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from pages.imports import ROOT, imports_of


def test_no_module_is_in_a_circle():
    imported = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("pruneofa", *path.relative_to(ROOT).with_suffix("").parts)
        # The front door is lazy: what stands above imports it only for the version.
        imported[".".join(parts).removesuffix(".__init__")] = imports_of(path) - {"pruneofa"}
    assert len(imported) > 100
    tuple(graphlib.TopologicalSorter(imported).static_order())  # raises CycleError, with the circle

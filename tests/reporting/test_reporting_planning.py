"""docs/scale.md: its tables are what the commands above them print."""

import re
from pathlib import Path

import pytest

from pruneofa.planning.devices import device_kind, device_kinds
from pruneofa.planning.estimate import Assumptions, make_plan
from pruneofa.planning.load import loads
from pruneofa.planning.sizes import architecture_config
from pruneofa.recipe.files import load_recipe
from pruneofa.reporting import planning
from pruneofa.reporting.tables import markdown_table

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
COMMAND = re.compile(r"^    pruneofa plan (\S+)((?: --devices \d+)+) --kind (\S+)$", re.MULTILINE)


def test_every_worked_model_is_there():
    commands = [found[1] for found in COMMAND.finditer(PAGE.read_text(encoding="utf-8"))]
    assert commands == ["bert-base-90", "bert-large-90", "distilbert-90"]


@pytest.mark.parametrize("name", ["bert-base-90", "bert-large-90", "distilbert-90"])
def test_tables_are_those_of_the_command(name):
    page = PAGE.read_text(encoding="utf-8")
    found = next(found for found in COMMAND.finditer(page) if found[1] == name)
    devices = [int(number) for number in re.findall(r"\d+", found[2])]
    recipe = load_recipe(name)
    work, left_out = loads(recipe, architecture_config(recipe.model.architecture or {}))
    plan = make_plan(recipe, work, Assumptions(kind=device_kind(found[3])), devices, left_out).as_dict()
    section = page[found.end() :].split("\n## ")[0]
    for grid, text_columns in (
        (planning.work_grid(plan), (0,)),
        (planning.memory_grid(plan), (0,)),
        (planning.storage_grid(plan), (0,)),
        (planning.time_grid(plan), (1, 3)),
    ):
        table = markdown_table(grid, text_columns=text_columns)
        assert table in section, f"print it again with the command in docs/scale.md:\n{table}"


def test_the_page_lists_every_kind():
    rows = [[kind.kind, kind.name, f"{kind.peak_flops / 1e12:,.0f}", kind.source] for kind in device_kinds().values()]
    table = markdown_table((["--kind", "device", "TFLOP/s", "stated in"], rows), (0, 1, 3))
    assert table in PAGE.read_text(encoding="utf-8"), table

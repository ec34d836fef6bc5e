"""docs/architecture.md: its picture and table are those of the imports, and what it names is there."""

import re
from xml.etree import ElementTree

import draw_architecture
import pytest
from pages.imports import ROOT, direct_imports, floors, import_graph

PAGE = draw_architecture.PAGE.read_text(encoding="utf-8")
AGAIN = "run python benchmarks/draw_architecture.py"
WALKED = re.compile(r"^\| (?:`(\w+)`)? ?\| (`[\w.]+`(?:(?:, | -> )`[\w.]+`)*) \|", re.MULTILINE)
PLACES = re.compile(r"`((?:\w+/)+(?:\w+\.(?:py|cpp))?)`")


def test_the_picture_is_that_of_the_imports():
    assert draw_architecture.PICTURE.read_text(encoding="utf-8") == draw_architecture.picture(), AGAIN


def test_the_table_is_that_of_the_imports():
    assert draw_architecture.floors_table() in PAGE, AGAIN


def test_every_room_has_a_box_that_overlaps_no_other():
    drawn = ElementTree.fromstring(draw_architecture.picture())
    boxes = [box.attrib for box in drawn.iter("{http://www.w3.org/2000/svg}rect") if "fill" in box.attrib][2:]
    rooms = direct_imports(import_graph())
    assert len(boxes) == len(rooms)
    for one in boxes:
        right = int(one["x"]) + int(one["width"])
        assert not [box for box in boxes if box["y"] == one["y"] and int(one["x"]) < int(box["x"]) < right]


def test_a_room_is_above_all_that_it_imports():
    graph = import_graph()
    direct = direct_imports(graph)
    floor = floors(direct)
    for room in direct:
        assert all(floor[other] < floor[room] for other in graph[room] if other in direct)


def test_functions_on_the_walks_are_where_the_page_says():
    room, seen = "", 0
    for found in WALKED.finditer(PAGE):
        room = found[1] or room
        text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / room).rglob("*.py")))
        for name in re.findall(r"`([\w.]+)`", found[2]):
            *module, last = name.split(".")
            defined = re.search(rf"^ *(?:def|class) {last}\b", text, re.MULTILINE)
            assert defined or (ROOT / room / "/".join([*module, f"{last}.py"])).exists(), f"{room}: {name}"
            seen += 1
    assert seen >= 30


@pytest.mark.parametrize("place", sorted(set(PLACES.findall(PAGE))))
def test_places_that_the_page_names_exist(place):
    root = ROOT.parents[1]
    assert (ROOT / place).exists() or (root / place).exists() or "NAME" in place, place

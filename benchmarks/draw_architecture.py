"""Draw the floors of the package, from its imports, into docs/architecture.md and docs/figures/architecture.svg.

python benchmarks/draw_architecture.py
"""

from __future__ import annotations

import ast
import re
from html import escape
from itertools import pairwise
from pathlib import Path

from pages.imports import ROOT, direct_imports, floors, import_graph

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
PICTURE = PAGE.parent / "figures" / "architecture.svg"
ROW, BOX, GAP, MARGIN = 78, 36, 26, 24
INK, LINE, FILL, LIFT = "#1c2733", "#7d8b9a", "#eef3f9", "#dbe7f6"
MARK = re.compile(r"(<!-- floors -->\n).*?(<!-- end of floors -->)", re.DOTALL)
Node = tuple[str, int]
"""A room, or the part of a line that passes a floor: its name, and its floor."""


def floors_table() -> str:
    """Rooms from the highest floor down: what each holds, and on which others it stands."""
    direct = direct_imports(import_graph())
    floor = floors(direct)
    rows = ["| floor | room | holds | stands on |", "|---:|---|---|---|"]
    for room in sorted(direct, key=lambda room: (-floor[room], room)):
        text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
        stands_on = ", ".join(f"`{other}`" for other in direct[room]) or "the ground"
        rows.append(f"| {floor[room]} | `{room}/` | {text} | {stands_on} |")
    return "\n".join(rows) + "\n"


def picture() -> str:
    """The same as an SVG document: a box for each room, a line to each that it stands on."""
    direct = direct_imports(import_graph())
    floor = floors(direct)
    chains = _chains(direct, floor)
    place = _placed(floor, chains)
    width = round(max(place[node] + _width(node[0]) / 2 for node in place) + MARGIN)
    top = max(floor.values())
    height = 2 * MARGIN + ROW * (top + 1) + BOX

    def middle(node: Node) -> float:
        return MARGIN + ROW * (top - node[1]) + BOX / 2

    lines = []
    for chain in chains:
        path = f"M{place[chain[0]]:.0f} {middle(chain[0]) + BOX / 2:.0f}"
        for upper, lower in pairwise(chain):
            begin, end = middle(upper) + BOX / 2, middle(lower) - BOX / 2
            half = (begin + end) / 2
            path += f"C{place[upper]:.0f} {half:.0f} {place[lower]:.0f} {half:.0f} {place[lower]:.0f} {end:.0f}"
            if lower != chain[-1]:
                path += f"V{end + BOX:.0f}"
        lines.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.4"/>')
    boxes = []
    for room, number in floor.items():
        x, y, wide = place[room, number], middle((room, number)), _width(room)
        fill = LIFT if number == 0 else FILL
        boxes.append(
            f'<rect x="{x - wide / 2:.0f}" y="{y - BOX / 2:.0f}" width="{wide}" height="{BOX}" rx="6" fill="{fill}" '
            f'stroke="{INK}"/><text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{escape(room)}</text>'
        )
    below = MARGIN + ROW * (top + 1)
    said = "the ground: single files for all (errors, whole-or-nothing writes, native code ...)"
    boxes.append(f'<text x="{width / 2:.0f}" y="{below + BOX / 2 + 5:.0f}" text-anchor="middle">{said}</text>')
    band = (
        f'<rect x="{MARGIN}" y="{below}" width="{width - 2 * MARGIN}" height="{BOX}" rx="6" fill="none" '
        f'stroke="{LINE}" stroke-dasharray="4 3"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="DejaVu Sans Mono, monospace" font-size="14" fill="{INK}" role="img" '
        f'aria-label="Rooms of the package; each stands on those that a line leads down to">\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n' + "\n".join([*lines, band, *boxes]) + "\n</svg>\n"
    )


def _chains(direct: dict[str, list[str]], floor: dict[str, int]) -> list[list[Node]]:
    """Each line from a room down to one that it stands on, with its place on every floor between."""
    return [
        [(room, floor[room]), *((f"{room}>{other}", n) for n in range(floor[room] - 1, floor[other], -1)),
         (other, floor[other])]
        for room in direct
        for other in direct[room]
    ]  # fmt: skip


def _width(name: str) -> int:
    return 10 if ">" in name else 26 + 9 * len(name)


def _placed(floor: dict[str, int], chains: list[list[Node]]) -> dict[Node, float]:
    """The middle of every node: near those that it is joined to, and beside the others of its floor."""
    rows: dict[int, list[Node]] = {}
    joined: dict[Node, list[Node]] = {}
    for node in sorted({*floor.items(), *(node for chain in chains for node in chain)}):
        rows.setdefault(node[1], []).append(node)
        joined[node] = []
    for chain in chains:
        for upper, lower in pairwise(chain):
            joined[upper].append(lower)
            joined[lower].append(upper)
    place = {node: 200.0 * i for row in rows.values() for i, node in enumerate(row)}
    for _ in range(60):
        for row in rows.values():
            wished = {
                node: sum(place[other] for other in joined[node]) / len(joined[node]) if joined[node] else place[node]
                for node in row
            }
            row.sort(key=lambda node: (round(wished[node], 3), node))
            _spread(row, wished, place)
    left = min(place[node] - _width(node[0]) / 2 for node in place) - MARGIN
    return {node: x - left for node, x in place.items()}


def _spread(row: list[Node], wished: dict[Node, float], place: dict[Node, float]) -> None:
    """Put a floor's nodes, in this order, near to where they wish, and none on another."""
    ends = [0.0]
    for node in row:
        ends.append(ends[-1] + _width(node[0]) + GAP)
    middles = {node: end + _width(node[0]) / 2 for node, end in zip(row, ends, strict=False)}
    # The floor as a whole is moved to where its nodes wish to be; then each apart, as far as its neighbours allow.
    shift = sum(wished[node] - middles[node] for node in row) / len(row)
    last = float("-inf")
    for index, node in enumerate(row):
        rest = row[index:]
        ahead = min(wished[other] - (middles[other] - middles[node]) for other in rest)
        place[node] = max(last, min(wished[node], max(ahead, middles[node] + shift)))
        last = place[node] + _width(node[0]) / 2 + GAP
        if index + 1 < len(row):
            last += _width(row[index + 1][0]) / 2


def main() -> None:
    PICTURE.write_text(picture(), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARK.sub(lambda mark: mark[1] + floors_table() + mark[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()

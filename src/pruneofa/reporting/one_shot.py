"""What layer-wise reconstruction made of each layer, as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import clean_text


def one_shot_grid(linears: Sequence[Mapping[str, Any]]) -> Grid:
    """Headings and cells, one row per pruned Linear, in the order of the work.

    Args:
        linears: as `.stage/one_shot.json` holds them: `name`, `size`, `zeros`, `relative_error`, `seconds`.
    """
    headings = ["layer", "weights", "sparsity %", "output error %", "s"]
    cells = [
        [
            clean_text(str(row["name"])),
            f"{row['size']:,}",
            f"{100 * row['zeros'] / row['size']:.2f}",
            f"{100 * row['relative_error']:.2f}",
            f"{row['seconds']:.1f}",
        ]
        for row in linears
    ]
    return headings, cells

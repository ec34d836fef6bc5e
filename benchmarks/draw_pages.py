"""Draw the tables and figures of measured results into this repository's pages.

python benchmarks/draw_pages.py                        # README.md and docs/*.md, from results/
python benchmarks/draw_pages.py --results DIR --page PAGE.md
"""

import argparse
import logging
import sys
from pathlib import Path

from pages.drawing import render_pages

from pruneofa.errors import PruneofaError

RESULTS = Path(__file__).parents[1] / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of result files (default: %(default)s)")
    parser.add_argument("--page", type=Path, action="append", help="page to draw into; repeatable")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        render_pages(arguments.results, arguments.page)
    except PruneofaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

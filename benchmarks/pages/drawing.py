"""Tables and figures of measured results, drawn from JSON files into the pages that ask for them.

A page says what it wants and where: between `<!-- results/demo.json: accuracy -->` and
`<!-- end of results/demo.json: accuracy -->` stands what the view `accuracy` makes of the file `demo.json` in the
folder of results. What stood there before is replaced, the rest of the page is left alone. Figures are written as SVG
files into `figures/` beside the page.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import compression, engine_views, ladder, pretraining_views, scale, views
from pages.views import Drawing, View
from pruneofa.atomic import write_text
from pruneofa.errors import ConfigurationError, DataError

logger = logging.getLogger(__name__)

FIGURES_FOLDER = "figures"
_MARK = re.compile(r"<!-- results/(?P<file>[\w.*-]+): (?P<view>[\w ]+) -->\n")
_MAX_BYTES = 256 * 2**20

VIEWS: Mapping[str, View] = {
    **views.VIEWS,
    **ladder.VIEWS,
    **compression.VIEWS,
    **engine_views.VIEWS,
    **pretraining_views.VIEWS,
    **scale.VIEWS,
}
"""Name of a view -> what draws it."""


def render_pages(results_dir: Path, pages: Sequence[Path] | None = None) -> list[Path]:
    """Draw what the pages ask for; returns the pages that have a mark.

    Args:
        results_dir: folder of the JSON files.
        pages: Markdown files; None for README.md and docs/*.md beside the folder.

    Raises:
        ConfigurationError: no page has a mark, or one names an unknown view.
        DataError: a file is missing, or is no document of results.
    """
    if pages is None:
        root = results_dir.resolve().parent
        pages = [page for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if page.is_file()]
    drawn = []
    for page in pages:
        try:
            text = page.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"page {str(page)!r} can't be read: {error}") from error
        if _MARK.search(text):
            write_text(page, render_text(text, results_dir, page.parent))
            drawn.append(page)
            logger.info("%s: drawn", page)
    if not drawn:
        raise ConfigurationError(
            f"no page of {', '.join(map(str, pages)) or 'README.md and docs/*.md'} has a mark such as "
            "'<!-- results/demo.json: accuracy -->'; name the page with --page"
        )
    return drawn


def render_text(text: str, results_dir: Path, page_dir: Path) -> str:
    """The text of a page with every view drawn anew; figures are written below `page_dir`.

    Raises:
        ConfigurationError, DataError: as `render_pages`.
    """
    done, position = [], 0
    for mark in _MARK.finditer(text):
        name, view = mark["file"], mark["view"]
        end = f"<!-- end of results/{name}: {view} -->"
        close = text.find(end, mark.end())
        if close < 0:
            raise ConfigurationError(f"the mark {mark[0].strip()!r} has no end; put {end!r} behind it")
        if view not in VIEWS:
            raise ConfigurationError(f"the mark {mark[0].strip()!r} names an unknown view; known: {', '.join(VIEWS)}")
        drawing = _draw(VIEWS[view], results_dir, name)
        for file, svg in drawing.figures.items():
            write_text(page_dir / FIGURES_FOLDER / file, svg)
        done += [text[position : mark.end()], "\n", drawing.markdown.strip(), "\n\n"]
        position = close
    return "".join([*done, text[position:]])


def _draw(view: View, results_dir: Path, name: str) -> Drawing:
    files = sorted(results_dir.glob(name)) if "*" in name else [results_dir / name]
    documents = {file.stem: _read(file) for file in files}
    try:
        return view(documents)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{results_dir / name}: holds nothing that this view can draw ({error!r})") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DataError(f"{file}: more than {_MAX_BYTES:,} bytes; no document of results")
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: can't be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{file}: holds {type(document).__name__}, not a document of results")
    return document

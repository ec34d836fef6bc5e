"""A matplotlib figure as an SVG element that is fit to stand inside an HTML page.

Matplotlib writes a document of its own: ids that repeat from figure to figure, a style rule for every element of the
page, fixed colours, metadata with addresses. Here the ids become unique, the rule and the metadata go, and the colours
become CSS variables (with the colour as fallback), so that one picture serves a light and a dark page.
"""

import io
import re
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID, TRACK = "#1c2733", "#55626f", "#e3e8ed", "#eceff3"
SERIES = ("#1b62b5", "#c2521b", "#1d8268", "#7d4fb0")
HEAT = ("#f1f6fc", "#dceafa", "#c3dbf5", "#a3c6ee", "#7daee4", "#3573b9", "#2968ae", "#1d5b9f", "#10437d")
HEAT_INK_LOW, HEAT_INK_HIGH = "#1c2734", "#fffffe"

COLOUR_VARIABLES = {
    INK: "--fig-ink",
    MUTED: "--fig-muted",
    GRID: "--fig-grid",
    TRACK: "--fig-track",
    **{colour: f"--fig-series-{i}" for i, colour in enumerate(SERIES)},
    **{colour: f"--fig-heat-{i}" for i, colour in enumerate(HEAT)},
    HEAT_INK_LOW: "--fig-heat-ink-low",
    HEAT_INK_HIGH: "--fig-heat-ink-high",
}
"""Colour drawn with -> CSS variable of the page. Each colour occurs once, that is how it is recognised."""

FONT_SIZE = 12.0
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "pruneofa", "font.family": "DejaVu Sans", "font.size": FONT_SIZE}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_REFERENCE = re.compile(r"#([^)\"']+)")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")


def figure(width: float, height: float) -> Figure:
    """An empty transparent figure, `width` x `height` CSS pixels at its natural size."""
    with mpl.rc_context(SETTINGS):
        created = Figure(figsize=(width / 72, height / 72), dpi=72)
        created.patch.set_alpha(0)
        FigureCanvasSVG(created)
        return created


def inline_svg(drawn: Figure, prefix: str, label: str) -> str:
    """`drawn` as one `<svg>` element; the same input gives the same text.

    Args:
        drawn: the finished figure.
        prefix: begins every id; two figures of a page need different ones.
        label: what a reader who cannot see the picture is told.
    """
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # The browser brings the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.savefig(buffer, format="svg", metadata=NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    _strip(root)
    _rename(root, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    _, _, width, _ = (float(number) for number in root.attrib["viewBox"].split())
    root.attrib.update({"role": "img", "aria-label": label, "style": f"max-width: {width * 1.2:.0f}px"})
    return ElementTree.tostring(root, encoding="unicode")


def _strip(element: ElementTree.Element) -> None:
    """Remove namespaces (an HTML parser knows them), metadata and the rules that would style the whole page."""
    element.tag = element.tag.rpartition("}")[2]
    for name in [name for name in element.attrib if name.startswith("{")]:
        element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)
    for child in list(element):
        _strip(child)
        only_rules = child.tag == "defs" and len(child) == 0
        if child.tag in ("metadata", "style") or only_rules:
            element.remove(child)


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Give ids that are referred to a new, unique name; drop the others; put variables in the place of colours."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    referred = {name for value in values for name in _REFERENCE.findall(value)}
    names: dict[str, str] = {}
    for element in root.iter():
        identifier = element.attrib.pop("id", None)
        if identifier is not None and identifier in referred:
            element.attrib["id"] = names.setdefault(identifier, f"{prefix}-{len(names) + 1}")
    for element in root.iter():
        for attribute, value in element.attrib.items():
            if attribute == "href" or "url(#" in value:
                value = _REFERENCE.sub(lambda found: "#" + names.get(found[1], found[1]), value)
            if attribute in ("style", "fill", "stroke"):
                value = _COLOUR.sub(lambda found: _variable(found[0]), value)
            element.attrib[attribute] = value


def _variable(colour: str) -> str:
    name = COLOUR_VARIABLES.get(colour)
    return colour if name is None else f"var({name}, {colour})"


def opaque_figure(width: float, height: float) -> Figure:
    """An empty white figure, since a file of its own may stand on a dark page."""
    drawn = figure(width, height)
    drawn.patch.set_facecolor("#ffffff")
    drawn.patch.set_alpha(1.0)
    return drawn


def svg_file(drawn: Figure) -> str:
    """The figure as a file of its own; the same input gives the same text."""
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        drawn.savefig(buffer, format="svg", metadata=NO_METADATA, facecolor=drawn.get_facecolor())
    return buffer.getvalue().decode()

"""Wikitext -> plain text, with mwparserfromhell.

What a reader of the page sees as running text stays: paragraphs, headings, lists, the labels of links. Templates,
tables, references, files, categories, galleries, formulas, comments and bare addresses go. The first line is the title,
each heading a line of its own.
"""

import re
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from pruneofa.data.sources.rows import Markup
from pruneofa.errors import ConfigurationError

__all__ = ["plain_text", "wikitext_facts"]

_GONE_TAGS = {
    *("categorytree", "ce", "chem", "gallery", "graph", "hiero", "imagemap", "indicator", "inputbox", "mapframe"),
    *("math", "onlyinclude", "pre", "ref", "references", "score", "section", "source", "style", "syntaxhighlight"),
    *("table", "templatedata", "templatestyles", "timeline"),
}
_LINE_TAGS = {"blockquote", "br", "center", "dd", "div", "dl", "dt", "hr", "li", "ol", "p", "poem", "ul"}
_LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(-[a-z]+)*\s*:")
_SWITCH = re.compile(r"__[A-Z]{3,}__")
_EMPTY_BRACKETS = re.compile(r"[ \t]{0,2}\([\s,;:]*\)")
# What the parser leaves standing as text since it is not closed; a sign that is meant is written as an entity.
_LEFT_OVER = re.compile(r"</?[A-Za-z][^<>]{0,300}>|\{\{+|\}\}+|\[\[+|\]\]+|'{2,}|\{\||\|\}")
_SPACES = re.compile(r"[ \t\xa0]+")
_HEADING = "\x00"  # marks a heading's line until its section turns out to be empty or not


def plain_text(wikitext: str, markup: Markup) -> str:
    """The running text of a page; its title alone where nothing else is left."""
    import mwparserfromhell

    code = mwparserfromhell.parse(wikitext, skip_style_tags=False)
    text = _SWITCH.sub("", "".join(_visible(code, markup.namespaces)))
    text = _EMPTY_BRACKETS.sub("", text)
    return "\n".join([markup.title, *_lines(text)])


def wikitext_facts() -> dict[str, str]:
    """Name and version of the parser, for the corpus's metadata.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return {"name": "mwparserfromhell", "version": metadata.version("mwparserfromhell")}
    except metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "corpus.source: a MediaWiki dump needs the package 'mwparserfromhell'; run: pip install 'pruneofa[train]'"
        ) from error


def _visible(code: Any, silent: frozenset[str]) -> Iterator[str]:
    for node in code.nodes:
        render = _RENDERERS.get(type(node).__name__)
        if render is not None:
            yield from render(node, silent)


def _text(node: Any, silent: frozenset[str]) -> Iterator[str]:
    yield _LEFT_OVER.sub("", node.value)


def _heading(node: Any, silent: frozenset[str]) -> Iterator[str]:
    yield f"\n{_HEADING}"
    yield from (part.replace("\n", " ") for part in _visible(node.title, silent))
    yield "\n"


def _link(node: Any, silent: frozenset[str]) -> Iterator[str]:
    title = str(node.title).strip()
    prefix = title.partition(":")[0].strip().lower()
    if not title.startswith(":") and ":" in title and (prefix in silent or _LANGUAGE_LINK.match(title)):
        return
    if node.text is not None:
        yield from _visible(node.text, silent)
    else:
        yield title.removeprefix(":")


def _external_link(node: Any, silent: frozenset[str]) -> Iterator[str]:
    if node.title is not None:
        yield from _visible(node.title, silent)


def _entity(node: Any, silent: frozenset[str]) -> Iterator[str]:
    try:
        yield node.normalize()
    except (ValueError, OverflowError):  # a number that is no character
        return


def _tag(node: Any, silent: frozenset[str]) -> Iterator[str]:
    name = str(node.tag).strip().lower()
    if name in _GONE_TAGS:
        return
    # The signs that begin a list's line stand at its beginning already.
    breaks = name in _LINE_TAGS and node.wiki_markup is None
    if breaks:
        yield "\n"
    if node.contents is not None:
        yield from _visible(node.contents, silent)
        if breaks:
            yield "\n"


_RENDERERS: dict[str, Callable[[Any, frozenset[str]], Iterator[str]]] = {
    "ExternalLink": _external_link,
    "HTMLEntity": _entity,
    "Heading": _heading,
    "Tag": _tag,
    "Text": _text,
    "Wikilink": _link,
}


def _lines(text: str) -> Iterator[str]:
    """The lines that hold a letter or a digit, without headings of sections that hold no text."""
    heading: str | None = None
    for line in text.split("\n"):
        is_heading = line.startswith(_HEADING)
        cleaned = _SPACES.sub(" ", line.replace(_HEADING, "")).strip()
        if not any(character.isalnum() for character in cleaned):
            continue
        if is_heading:
            heading = cleaned
            continue
        if heading is not None:
            yield heading
            heading = None
        yield cleaned

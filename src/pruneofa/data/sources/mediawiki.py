"""Pages of a MediaWiki XML dump (`*-pages-articles.xml.bz2`), read as a stream by the standard library's expat.

The field's mwxml keeps an element of every page that it has passed (some 280 bytes, so gigabytes for a large wiki) and
is 2.6 times as slow, so the XML, which is simple, is read here; the wikitext inside is another matter, see
`pruneofa.data.sources.wikitext`.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from pruneofa.data.sources.compression import READ_ERRORS, open_binary
from pruneofa.data.sources.rows import Markup, Row
from pruneofa.errors import DataError

__all__ = ["read_dump"]

# Links into these show a file, or file the page under a heading; the numbers are MediaWiki's, the names each wiki's.
_SILENT_NAMESPACES = {"6", "14"}
_ENGLISH_NAMES = frozenset({"file", "image", "media", "category"})
_MAX_PAGE_CHARACTERS = 64 * 2**20


def read_dump(path: Path) -> Iterator[Row]:
    """Yield every page, redirects and those outside the article namespace too, with its current wikitext.

    The columns are `title`, `id`, `namespace` (0: articles), `redirect` (true or false) and `text`.

    Raises:
        DataError: an unreadable or damaged file, broken XML, XML that is no such dump.
    """
    number = 0
    try:
        with open_binary(path) as file:
            events = ElementTree.iterparse(file, events=("start", "end"))
            _, root = next(events)
            if _name(root) != "mediawiki":
                raise DataError(
                    f"{path}: the XML is a <{_name(root)}>, not a MediaWiki dump; give a *-pages-articles.xml file"
                )
            silent = _ENGLISH_NAMES
            for event, element in events:
                name = _name(element)
                if event == "start":
                    continue
                if name == "siteinfo":
                    silent |= _silent_names(element)
                elif name == "page":
                    number += 1
                    yield _row(element, f"{path} page {number}", silent)
                    root.clear()  # else every page that was read stays
    except ElementTree.ParseError as error:
        raise DataError(
            f"{path}: broken XML after page {number} ({error}); the file is damaged or cut short: fetch it again"
        ) from error
    except READ_ERRORS as error:
        raise DataError(
            f"{path}: can't be read after page {number} (damaged or cut short?): {error}; fetch it again"
        ) from error


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _silent_names(siteinfo: ElementTree.Element) -> frozenset[str]:
    return frozenset(
        (namespace.text or "").lower()
        for namespace in siteinfo.iterfind("{*}namespaces/{*}namespace")
        if namespace.get("key") in _SILENT_NAMESPACES
    ) - {""}


def _row(page: ElementTree.Element, origin: str, silent: frozenset[str]) -> Row:
    title = page.findtext("{*}title")
    namespace = page.findtext("{*}ns", "")
    if title is None or not namespace.lstrip("-").isdigit():
        raise DataError(f"{origin}: has no <title> or no <ns>; give a *-pages-articles.xml file")
    revisions = page.findall("{*}revision")
    text = revisions[-1].findtext("{*}text", "") if revisions else ""
    if len(text) > _MAX_PAGE_CHARACTERS:
        raise DataError(f"{origin}: a page of more than {_MAX_PAGE_CHARACTERS} characters")
    values = {
        "title": title,
        "id": page.findtext("{*}id", ""),
        "namespace": int(namespace),
        "redirect": page.find("{*}redirect") is not None,
        "text": text,
    }
    return Row(values, origin, Markup(title, silent))

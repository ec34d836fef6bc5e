import bz2
import tracemalloc
from xml.sax.saxutils import escape

import pytest

from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus, load_corpus
from pruneofa.data.sources.mediawiki import read_dump
from pruneofa.data.sources.reading import read_rows
from pruneofa.data.sources.rows import Markup
from pruneofa.data.sources.wikitext import plain_text
from pruneofa.errors import DataError

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
<siteinfo><sitename>Wiki</sitename><namespaces><namespace key="-2">Medium</namespace><namespace key="0" />
<namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace></namespaces></siteinfo>
"""


def page(title, text, namespace=0, redirect=""):
    target = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"<page><title>{escape(title)}</title><ns>{namespace}</ns><id>7</id>{target}<revision><id>1</id>"
        f"<contributor><username>A</username><id>4</id></contributor><model>wikitext</model>"
        f'<text bytes="1" xml:space="preserve">{escape(text)}</text><sha1>x</sha1></revision></page>\n'
    )


def dump(*pages):
    return HEAD + "".join(pages) + "</mediawiki>\n"


def test_pages_of_a_dump(write):
    content = dump(
        page("One & two", "Text <b>one</b>."),
        page("Ein", "#REDIRECT [[One]]", redirect="One"),
        page("Talk:One", "x", 1),
    )
    rows = list(read_rows(write("wiki-pages-articles.xml.bz2", bz2.compress(content.encode()))))
    assert [dict(row) for row in rows] == [
        {"title": "One & two", "id": "7", "namespace": 0, "redirect": False, "text": "Text <b>one</b>."},
        {"title": "Ein", "id": "7", "namespace": 0, "redirect": True, "text": "#REDIRECT [[One]]"},
        {"title": "Talk:One", "id": "7", "namespace": 1, "redirect": False, "text": "x"},
    ]
    assert rows[1].origin.endswith("wiki-pages-articles.xml.bz2 page 2")
    assert rows[0].markup == Markup(
        "One & two", frozenset({"file", "image", "media", "category", "datei", "kategorie"})
    )


def test_a_multistream_dump_is_one_file(write):
    first, second = HEAD + page("A", "a"), page("B", "b") + "</mediawiki>"
    path = write("multistream.xml.bz2", bz2.compress(first.encode()) + bz2.compress(second.encode()))
    assert [row["title"] for row in read_rows(path)] == ["A", "B"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pages(write):
    path = write("a.xml", dump(*(page(f"Page {i}", "text " * 20) for i in range(20_000))))
    rows = read_rows(path)
    peaks = []
    for count in (2_000, 17_000):
        tracemalloc.start()
        for _ in range(count):
            next(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # an empty element kept for each page would be 4 MB


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", dump(page("A", "a"))[:-30], r"a\.xml: broken XML after page \d .*cut short: fetch it again"),
        ("a.xml", "", r"a\.xml: broken XML after page 0 \(no element found"),
        ("a.xml", "<html></html>", r"a\.xml: the XML is a <html>, not a MediaWiki dump"),
        ("a.xml", dump(), r"a\.xml is empty: it holds no row"),
        ("a.xml", dump("<page><id>1</id></page>"), r"a\.xml page 1: has no <title> or no <ns>"),
        ("a.xml", dump("<page><title>A</title><ns>x</ns></page>"), r"a\.xml page 1: has no <title> or no <ns>"),
        (
            "a.xml.bz2",
            bz2.compress(dump(*(page("A", str(i)) for i in range(900))).encode())[:-20],
            r"a\.xml\.bz2: can't be read after page \d+ \(damaged or cut short\?\)",
        ),
        (
            "a.xml",
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
                f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
            ) + "]>" + dump(page("A", "")).replace("<text", "<comment>&j;</comment><text"),
            r"a\.xml: broken XML",
        ),
    ],
)  # fmt: skip
def test_faulty_dumps(write, name, content, message):
    with pytest.raises(DataError, match=message):
        list(read_rows(write(name, content)))


def test_a_page_without_text_is_empty(write):
    assert next(read_dump_of(write, "<page><title>A</title><ns>0</ns></page>"))["text"] == ""


def read_dump_of(write, *pages):
    from pathlib import Path

    return read_dump(Path(write("b.xml", dump(*pages))))


WIKITEXT = """{{Infobox person|name=X|birth={{birth date|1900|1|1}}}}
'''Anarchism''' is a [[political philosophy]] and [[Political movement|''movement'']] ({{lang|el|x}}, ).<ref
name="a">{{cite book|title=T}}</ref> It is &ndash; sceptical of<!-- hidden --> authority &#8212; so.

== History ==
[[File:Foo.jpg|thumb|A [[caption]] here]]
[[Datei:Bar.jpg]]
* item ''one''
* item two
# number
: indented
{| class="wikitable"
! H
|-
| cell
|}
Some math <math>x^2</math> and [http://x.example label] and [http://y.example] and http://z.example text<br/>new line.
<gallery>
File:a.jpg
</gallery>

=== Empty ===
{{Main|Elsewhere}}

== See also ==
<div>visible <b>bold</b></div> H<sub>2</sub>O __TOC__ {{{arg|def}}} 1 &lt; 2
[[Category:Philosophy]] [[Kategorie:Etwas]] [[:Category:Shown]] [[fr:Anarchisme]]
"""


def test_wikitext_becomes_what_a_reader_sees():
    names = frozenset({"file", "image", "category", "datei", "kategorie"})
    assert plain_text(WIKITEXT, Markup("Anarchism", names)).split("\n") == [
        "Anarchism",
        "Anarchism is a political philosophy and movement. It is \u2013 sceptical of authority \u2014 so.",
        "History",
        "item one",
        "item two",
        "number",
        "indented",
        "Some math and label and and text",
        "new line.",
        "See also",
        "visible bold",
        "H2O 1 < 2",
        "Category:Shown",
    ]


@pytest.mark.parametrize(
    "broken", ["{{open", "[[open", "'''''", "<ref>open", "{|\n|", "</b></i>", "[[a|[[b", "== =", ""]
)
def test_broken_wikitext_is_no_error(broken):
    text = plain_text(f"{broken}\n\nPlain text.", Markup("T", frozenset()))
    assert text.startswith("T")
    assert text.endswith("Plain text.")
    assert not set("{[<'") & set(text)


@pytest.mark.parametrize("form", ["blocks", "pairs"])
def test_a_corpus_from_a_dump(form, write, bert_tokenizer, tmp_path):
    words = ["good", "bad", "film", "plot", "very", "not", "one", "two"]
    articles = [
        page(
            f"The {words[i % 8]} {words[i // 8]}", f"A '''{words[i % 8]}''' [[film]]. It was {words[i // 8]}.{{{{x}}}}"
        )
        for i in range(40)
    ]
    articles[3:3] = [page("Ein", "#REDIRECT [[One]]", redirect="One")] * 4 + [page("Template:X", "one", 10)] * 2
    path = write("a.xml.bz2", bz2.compress(dump(*articles, page("Empty", "")).encode()))
    config = CorpusConfig(source=path, form=form, max_length=24, validation_fraction=0.1, shard_characters=300)
    statistics = build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    dropped = {key: statistics[key] for key in statistics if key.startswith("dropped_")}
    assert dropped == {"dropped_empty": 1, "dropped_redirects": 4, "dropped_other_pages": 2, "dropped_broken": 0}
    assert statistics["documents"] == 40
    loaded = load_corpus(tmp_path / "out", bert_tokenizer)
    numbers = {number for split in loaded.values() for documents in split["documents"] for number in documents}
    assert numbers == {*range(3), *range(9, 46)}
    text = bert_tokenizer.decode(loaded["train"][0]["input_ids"])
    assert "film" in text and "x" not in text.split() and "'" not in text

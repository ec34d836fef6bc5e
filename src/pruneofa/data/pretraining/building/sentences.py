"""Splitting documents into sentences, by rules, offline, in linear time (the library sentencex of Wikimedia)."""

import re
from importlib import metadata

from pruneofa.errors import ConfigurationError

__all__ = ["SENTENCE_MARK", "mark_sentences", "splitter_facts"]

SENTENCE_MARK = "\ufdd0"
"""Stands between two sentences of a document; a code point that Unicode keeps out of any text."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# The library stops the process at a wide space before a full stop ("B\u2028."), so it is shown a plain one.
_WIDE_BREAK = re.compile("[\x85\u2028\u2029]")
_WIDE_SPACES = "".join(character for character in map(chr, range(0x80, 0x10000)) if character.isspace())
_WIDE_SPACE = re.compile(f"[{_WIDE_SPACES}]")  # several times as fast as a class that says the same in words


def mark_sentences(text: str, language: str, *, by_line: bool = False) -> str:
    """`text` with a mark between every two sentences.

    Args:
        text: a document.
        language: code of its language.
        by_line: the end of a line ends a sentence, too.

    Nothing else changes: without the marks it is the same text (but for marks that it held itself). The white space
    between two sentences belongs to the second one, as in a running text, which tokenizers that keep it depend on.
    """
    if SENTENCE_MARK in text:
        text = text.replace(SENTENCE_MARK, " ")
    if not by_line:
        return SENTENCE_MARK.join(_sentences(text, language))
    sentences: list[str] = []
    space = ""
    for line in _LINE.findall(text):
        body = line.strip()
        if body:
            begin = line.index(body)
            first, *others = _sentences(body, language)
            sentences += [space + line[:begin] + first, *others]
            space = line[begin + len(body) :]
        else:
            space += line
    return SENTENCE_MARK.join(sentences)


def _sentences(text: str, language: str) -> list[str]:
    """The sentences, which are the text when they are joined, but for white space at its end."""
    from sentencex import segment

    plain = text
    if _WIDE_SPACE.search(text) is not None:
        plain = _WIDE_SPACE.sub(" ", _WIDE_BREAK.sub("\n", text))
    sentences: list[str] = []
    space = ""
    start = 0
    for found in segment(language, plain):
        sentence = text[start : start + len(found)]
        start += len(found)
        body = sentence.rstrip()
        if body:
            sentences.append(space + body)
            space = sentence[len(body) :]
        else:
            space += sentence
    return sentences


def splitter_facts(language: str) -> dict[str, str]:
    """Name and version of what splits sentences, for the corpus's metadata.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        version = metadata.version("sentencex")
    except metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "corpus.form: pairs and sentences need the package 'sentencex', which splits sentences; "
            "run: pip install 'pruneofa[train]', or set corpus.form to blocks"
        ) from error
    return {"name": "sentencex", "version": version, "language": language}

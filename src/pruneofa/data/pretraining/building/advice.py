"""What the counts of a corpus say about documents and sentences that were not cut as they were meant."""

from collections.abc import Mapping, Sequence
from typing import Any

from pruneofa.data.pretraining.building.config import CorpusConfig
from pruneofa.errors import DataError

__all__ = ["advice", "check_sentences"]

_MANY_LINES = 20
_RANDOM_SHARE = 0.6
_CUT_SHARE = 0.25


def check_sentences(config: CorpusConfig, token_facts: Sequence[Mapping[str, Any]]) -> None:
    """Raise a DataError where segment pairs are wanted of documents that all have one sentence.

    Args:
        config: the corpus's.
        token_facts: what was counted of each shard.
    """
    documents, single = _sum(token_facts, "documents"), _sum(token_facts, "one_sentence_documents")
    if config.form != "pairs" or not documents or single < documents:
        return
    raise DataError(
        f"corpus.form is pairs, but each of the {documents:,} documents of {config.source!r} has one sentence, so "
        f"every second segment would be random, with nothing to learn from; {_remedy(config, token_facts)}"
    )


def advice(
    config: CorpusConfig, files: Sequence[str], token_facts: Sequence[Mapping[str, Any]], statistics: Mapping[str, Any]
) -> list[str]:
    """Warnings with numbers, none where all looks as it should.

    Args:
        config: the corpus's.
        files: extensions of the source's files, "" for data sets.
        token_facts: what was counted of each shard.
        statistics: of the finished corpus.
    """
    documents, lines = statistics["documents"], _sum(token_facts, "lines")
    sentences = _sum(token_facts, "sentences")
    texts = bool(files) and set(files) == {".txt"}
    found = []
    if texts and config.line_end == "space" and documents == len(files) and lines >= _MANY_LINES * documents:
        whole = "the text file" if documents == 1 else f"each of the {documents:,} text files"
        found.append(
            f"{whole} is one document, of {lines / documents:,.0f} lines, as there is no blank line; if each line is a "
            "document, set corpus.line_end to document"
        )
    if config.form != "blocks" and config.line_end == "space" and lines > 2 * sentences and sentences < 1.5 * documents:
        found.append(
            f"documents have {lines / documents:,.1f} lines, but {sentences / documents:,.1f} sentences: if each line "
            "is a sentence, set corpus.line_end to sentence"
        )
    train = statistics["train"]
    if config.form == "pairs" and train["random_next"] > _RANDOM_SHARE * train["examples"]:
        single = _sum(token_facts, "one_sentence_documents")
        found.append(
            f"{_percent(train['random_next'], train['examples'])} of the pairs have a random second segment, not half: "
            f"{_percent(single, documents)} of the documents have one sentence; {_remedy(config, token_facts)}"
        )
    if config.form == "pairs" and train["cut_tokens"] > _CUT_SHARE * train["tokens"]:
        found.append(
            f"{_percent(train['cut_tokens'], train['tokens'])} of the tokens are left out: sentences are long beside "
            f"max_length = {config.max_length}; raise it, set corpus.form to sentences or blocks, or check where "
            "sentences end (corpus.line_end)"
        )
    return found


def _remedy(config: CorpusConfig, token_facts: Sequence[Mapping[str, Any]]) -> str:
    others = "give whole documents, or set corpus.form to blocks or sentences"
    lines, documents = _sum(token_facts, "lines"), _sum(token_facts, "documents")
    if config.line_end == "document":
        return f"{others}; if each line is a sentence of a longer document, set corpus.line_end to sentence"
    if config.line_end == "space" and lines > documents:
        return f"if each line is a sentence, set corpus.line_end to sentence; else {others}"
    return others


def _sum(facts: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(each.get(key, 0) for each in facts)


def _percent(count: int, whole: int) -> str:
    return f"{100 * count / whole if whole else 0:.0f} %"

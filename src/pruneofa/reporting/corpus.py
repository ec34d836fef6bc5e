"""What is in a corpus, as a table, as lines, and as a picture."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pruneofa.atomic import replacing_file
from pruneofa.reporting import _axes, _svg
from pruneofa.reporting.tables import Grid
from pruneofa.reporting.units import MISSING, clean_text, format_percent, format_seconds

__all__ = ["corpus_grid", "corpus_lines", "draw_corpus", "write_corpus_picture"]

_SPLITS = ("train", "validation")
_BARS = 32
_PIXEL_RATIO = 2
_PICTURE_NAME = "corpus.png"


def corpus_grid(record: Mapping[str, Any]) -> Grid:
    """Headings and cells of the counts, one column for each split.

    Args:
        record: what `corpus.json` says.
    """
    statistics = record["statistics"]
    splits = [statistics[name] for name in _SPLITS if name in statistics]
    longest = record["settings"]["max_length"]
    rows = [
        ["documents", *(f"{split['documents']:,}" for split in splits)],
        ["tokens", *(f"{split['tokens']:,}" for split in splits)],
        ["unknown tokens", *(_share(split["unknown_tokens"], split["tokens"], 3) for split in splits)],
        ["document length, tokens, mean", *(f"{split['tokens'] / split['documents']:,.0f}" for split in splits)],
        ["sentences", *(f"{split['sentences']:,}" if "sentences" in split else MISSING for split in splits)],
        ["examples", *(f"{split['examples']:,}" for split in splits)],
        ["example length, tokens, mean", *(f"{split['mean_length']:.1f}" for split in splits)],
        ["example length, 10 / 50 / 90 %", *(_quantiles(split["histograms"]["example_lengths"]) for split in splits)],
        [f"examples of {longest} tokens", *(_full(split, longest) for split in splits)],
    ]
    optional = [
        ("documents cut into several", "cut_documents", "documents"),
        ("sentences cut", "cut_sentences", "sentences"),
        ("pairs cut", "cut_pairs", "examples"),
        ("tokens left out of pairs", "cut_tokens", "tokens"),
        ("pairs with a random second segment", "random_next", "examples"),
    ]
    for label, key, whole in optional:
        if key in splits[0]:
            rows.append([label, *(_share(split[key], split[whole]) for split in splits)])
    return ["", *(name for name in _SPLITS if name in statistics)], rows


def corpus_lines(record: Mapping[str, Any], times: Mapping[str, Any] | None = None) -> list[str]:
    """Where the corpus is from and how it was made, one fact a line.

    Args:
        record: what `corpus.json` says.
        times: what `times.json` says, where it is known.
    """
    statistics, settings = record["statistics"], record["settings"]
    dropped = {key.removeprefix("dropped_"): count for key, count in statistics.items() if key.startswith("dropped_")}
    reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
    lines = [
        f"form {settings['form']}, up to {settings['max_length']} tokens, seed {settings['seed']}",
        f"{_counted(len(record['source']), 'source file or data set', 'source files or data sets')}, "
        f"{_counted(statistics['characters'], 'character')}, {_counted(len(record['shards']['train']), 'shard')}",
        f"documents dropped: {reasons}",
        f"tokenizer {record['tokenizer_sha256'][:12]}",
    ]
    splitter = record["versions"].get("sentence_splitter")
    if splitter is not None:
        lines.append(f"sentences split by {splitter['name']} {splitter['version']}, language {splitter['language']}")
    if times is not None:
        lines += _times(times)
    return [clean_text(line) for line in lines]


def write_corpus_picture(folder: Path, record: Mapping[str, Any]) -> Path:
    """Draw the corpus into its stage's folder; returns the picture's path."""
    path = folder / _PICTURE_NAME
    with replacing_file(path) as temporary:
        temporary.write_bytes(draw_corpus(record))
    return path


def draw_corpus(record: Mapping[str, Any]) -> bytes:
    """A PNG picture: lengths of the training examples and of the training documents."""
    train = record["statistics"]["train"]
    width, height = 2 * 460.0, 250.0
    drawn = _svg.figure(width, height)
    drawn.patch.set_alpha(1)
    drawn.patch.set_facecolor("white")
    left = _axes.add_axes(drawn, 64, 40, 370, 160)
    _draw_examples(left, train["histograms"]["example_lengths"])
    right = _axes.add_axes(drawn, 64 + 460, 40, 370, 160)
    _draw_documents(right, train["histograms"]["document_lengths"])
    for axes, title, label in (
        (left, f"{train['examples']:,} examples", "tokens of an example, special tokens counted"),
        (right, f"{train['documents']:,} documents", "tokens of a document"),
    ):
        axes.set_title(title, loc="left", fontsize=_svg.FONT_SIZE, color=_svg.INK)
        axes.set_xlabel(label, color=_svg.MUTED, fontsize=_axes.SMALL)
        _axes.number_axis(axes)
    buffer = io.BytesIO()
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        drawn.savefig(buffer, format="png", dpi=72 * _PIXEL_RATIO, metadata={"Software": None})
    return buffer.getvalue()


def _draw_examples(axes: Axes, counts: Sequence[int]) -> None:
    """Bars over equal stretches of lengths; entry i counts examples of i tokens."""
    longest = len(counts) - 1
    stretch = max(1, -(-longest // _BARS))
    begins = range(1, longest + 1, stretch)
    heights = [sum(counts[begin : begin + stretch]) for begin in begins]
    axes.bar([begin - 0.5 for begin in begins], heights, width=0.92 * stretch, align="edge", color=_svg.SERIES[0])
    axes.set_xlim(0, longest + 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _axes.short(value)))


def _draw_documents(axes: Axes, counts: Sequence[int]) -> None:
    """A bar for each doubling; entry i counts documents of 2^i tokens and more, below twice that."""
    used = [i for i, count in enumerate(counts) if count]
    first, last = used[0], used[-1]
    axes.bar(range(first, last + 1), counts[first : last + 1], width=0.92, align="edge", color=_svg.SERIES[0])
    axes.set_xlim(first - 0.1, last + 1.1)
    axes.set_xticks(range(first, last + 2, max(1, (last + 2 - first) // 6)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _axes.short(float(2 ** round(value)))))


def _times(times: Mapping[str, Any]) -> list[str]:
    seconds = dict(times["seconds"])
    elapsed = seconds.pop("elapsed")
    work = sum(seconds.values()) or 1.0
    parts = [f"{step.replace('_', ' ')} {format_percent(spent / work, 1)} %" for step, spent in seconds.items()]
    return [
        f"built in {format_seconds(elapsed)} by {_counted(times['processes'], 'process', 'processes')}",
        f"their work: {', '.join(parts)}",
    ]


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _share(count: int, whole: int, decimals: int = 1) -> str:
    return f"{count:,} ({format_percent(count / whole if whole else 0.0, decimals)} %)"


def _full(split: Mapping[str, Any], longest: int) -> str:
    return _share(split["histograms"]["example_lengths"][longest], split["examples"])


def _quantiles(counts: Sequence[int]) -> str:
    """Lengths that 10, 50 and 90 % of the examples don't exceed."""
    total, seen = sum(counts), 0
    found: list[str] = []
    for length, count in enumerate(counts):
        seen += count
        while len(found) < 3 and seen >= (0.1, 0.5, 0.9)[len(found)] * total:
            found.append(str(length))
    return " / ".join(found)

"""What installed packages add to the sources: data sets by a name of their own, and where a package's data come from.

Both are entry points, so that this package needs to know none of them, and a user's package can bring its own:

    [project.entry-points."pruneofa.sources"]
    my_data = "my_package.my_data"            # a `NamedSource`: recipes then say my_data:PART

    [project.entry-points."pruneofa.packages"]
    my_package = "my_package:DISTRIBUTIONS"   # importable name -> what pip installs it from
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, cast

from pruneofa.data.sources.rows import Row

__all__ = ["NamedSource", "distribution_of", "named_source", "source_names"]


class NamedSource(Protocol):
    """A data set in parts; a module with these functions is one."""

    def read_part(self, part: str) -> Iterator[Row]:
        """The rows of a part; a DataError for an unknown one."""

    def data_file(self) -> Path:
        """The file that all parts come from: its content identifies them."""


def source_names() -> tuple[str, ...]:
    """Names of the data sets that installed packages bring, in order."""
    return tuple(sorted(_sources()))


def named_source(item: str) -> tuple[NamedSource, str] | None:
    """The data set of a source `NAME:PART`, and the part; None where no installed package brings one of that name."""
    name, colon, part = item.partition(":")
    entry = _sources().get(name) if colon else None
    return None if entry is None else (cast(NamedSource, entry.load()), part)


def distribution_of(module: str) -> str:
    """What pip installs an importable name from; the name itself where nobody says."""
    for entry in entry_points(group="pruneofa.packages"):
        known: Mapping[str, str] = entry.load()
        if module in known:
            return known[module]
    return module


@cache
def _sources() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="pruneofa.sources")}

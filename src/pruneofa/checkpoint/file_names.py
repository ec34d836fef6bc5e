"""Names of files inside a compressed file: relative, forward slashes, nothing that could leave the folder."""

from collections.abc import Iterable

from pruneofa.errors import CheckpointError

__all__ = ["check_file_names"]

_MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255
_MAX_PARTS = 8
_FORBIDDEN = set('\\:*?"<>|') | {chr(code) for code in range(32)} | {"\x7f"}
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{kind}{number}" for kind in ("com", "lpt") for number in range(10)}


def check_file_names(names: Iterable[str], where: str) -> None:
    """Check that the names can be written below one folder, on any system, without touching anything else.

    Raises:
        CheckpointError: A name is absolute, climbs (`..`), has a forbidden character, is too long, appears twice (also
            in other capitals), or is a file where another name needs a folder.
    """
    names = list(names)
    for name in names:
        fault = _fault(name)
        if fault is not None:
            raise CheckpointError(
                f"{where}: embedded file name {name[:200]!r} {fault}; allowed are relative names such as 'config.json' "
                "or 'folder/file.json'; rename the file, or do not trust this one"
            )
    folded = [name.casefold() for name in names]
    seen = set(folded)
    if len(seen) != len(folded):
        doubled = next(name for name, key in zip(names, folded, strict=True) if folded.count(key) > 1)
        raise CheckpointError(f"{where}: embedded file name {doubled!r} appears twice (capitals aside); rename one")
    for name, key in zip(names, folded, strict=True):
        parts = key.split("/")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in seen:
                raise CheckpointError(
                    f"{where}: embedded file name {name!r} needs a folder where another name is a file; rename one"
                )


def _fault(name: str) -> str | None:
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        return f"is empty or longer than {_MAX_NAME_BYTES} bytes"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return "is not valid Unicode"
    if name.startswith("/"):
        return "is absolute"
    bad = sorted(set(name) & _FORBIDDEN)
    if bad:
        return f"holds the character {bad[0]!r}"
    parts = name.split("/")
    if len(parts) > _MAX_PARTS:
        return f"has more than {_MAX_PARTS} parts"
    for part in parts:
        if part in ("", ".", ".."):
            return f"has the part {part!r}"
        if len(part.encode()) > _MAX_PART_BYTES:
            return f"has a part longer than {_MAX_PART_BYTES} bytes"
        if part[-1] in ". " or part.split(".")[0].casefold() in _DEVICES:
            return f"has the part {part!r}, which not every system can store"
    return None

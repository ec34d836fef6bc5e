"""The names of a head's rows, as a model's config has them: one reading for PyTorch, engine and export."""

from collections.abc import Mapping, Sequence

from pruneofa.errors import CheckpointError

__all__ = ["check_distinct", "row_names"]


def row_names(id2label: object, rows: int) -> list[str]:
    """The name of each row of a head.

    Where the config has no names, and where one is null or empty, a row is `LABEL_<row>`, as transformers calls it.

    Args:
        id2label: the config's entry: row (a number, or a number as text, as in JSON) -> name; None where it has none.
        rows: of the head.

    Raises:
        CheckpointError: the entry is no such mapping, leaves a row out, or names one that the head does not have.
    """
    if id2label is None:
        id2label = {}
    if not isinstance(id2label, Mapping):
        raise CheckpointError(
            f"config.json: id2label is {str(id2label)[:60]!r}; it must be an object with a name for each row of the "
            f'head, like {{"0": "negative", "1": "positive"}}'
        )
    named = {str(key) for key in id2label}
    missing = next((row for row in range(rows) if id2label and str(row) not in named), None)
    if missing is not None:
        raise CheckpointError(
            f"config.json: id2label has no name for row {missing} of the head, which has {rows} rows; give each of "
            "them one name there"
        )
    names = [f"LABEL_{row}" for row in range(rows)]
    for key, name in id2label.items():
        text = str(key)
        if not (text.isascii() and text.isdecimal()) or int(text) >= rows:
            raise CheckpointError(
                f"config.json: id2label names row {text[:40]!r}, but the head has {rows} rows (0 to {rows - 1}); give "
                "each of them one name there"
            )
        if name is not None and str(name).strip():
            names[int(text)] = str(name)
    return names


def check_distinct(names: Sequence[str]) -> None:
    """Refuse a head that calls two rows the same: an answer by name could be either.

    Raises:
        CheckpointError: it does.
    """
    for row, name in enumerate(names):
        if (first := names.index(name)) != row:
            raise CheckpointError(
                f"config.json: id2label gives the rows {first} and {row} of the head one name, {name!r}; give each row "
                "a name of its own there"
            )

"""Records written as JSON lines, CSV or Parquet: whole or not at all."""

import csv
import io
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pruneofa.atomic import replacing_file

__all__ = ["Value", "write_records"]

Value = str | int | float | list[Any] | dict[str, Any]
"""What a column holds."""

_ROWS_OF_A_GROUP = 4096


def write_records(records: Iterable[Mapping[str, Value]], output: Path | BinaryIO) -> None:
    """Write records, all with the same keys, in their order. If making one fails, nothing is written.

    In CSV, scores of labels are columns `scores.LABEL`, a vector's numbers `vector.0` and so on; other lists are JSON.

    Args:
        records: At least one.
        output: A file by its extension, `.jsonl`, `.csv` or `.parquet`; or an open binary file that gets JSON lines.
    """
    if not isinstance(output, Path):
        with tempfile.TemporaryFile() as whole:  # memory stays small, and a fault leaves the output empty
            whole.writelines(_json_lines(records))
            whole.seek(0)
            shutil.copyfileobj(whole, output)
        output.flush()
        return
    with replacing_file(output) as temporary:
        if output.suffix == ".parquet":
            _write_parquet(records, temporary)
            return
        lines = _csv_lines(records) if output.suffix == ".csv" else _json_lines(records)
        with temporary.open("wb") as file:
            file.writelines(lines)


def _json_lines(records: Iterable[Mapping[str, Value]]) -> Iterator[bytes]:
    for record in records:
        yield json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _csv_lines(records: Iterable[Mapping[str, Value]]) -> Iterator[bytes]:
    header: list[str] | None = None
    for record in records:
        flat = dict(_columns(record))
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        if header is None:
            header = list(flat)
            writer.writerow(header)
        writer.writerow([flat[name] for name in header])
        yield line.getvalue().encode()


def _columns(record: Mapping[str, Value]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", number) for key, number in value.items())
        elif name == "vector" and isinstance(value, list):
            yield from ((f"{name}.{index}", number) for index, number in enumerate(value))
        else:
            yield name, json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _write_parquet(records: Iterable[Mapping[str, Value]], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = iter(records)
    first = list(itertools.islice(rows, _ROWS_OF_A_GROUP))
    schema = pyarrow.schema([(name, _arrow_type(pyarrow, name, value)) for name, value in first[0].items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        group = first
        while group:
            writer.write_table(pyarrow.Table.from_pylist([dict(record) for record in group], schema=schema))
            group = list(itertools.islice(rows, _ROWS_OF_A_GROUP))


def _arrow_type(pyarrow: Any, name: str, value: Value) -> Any:
    """A column's type, which an empty list in its first row does not tell."""
    if name == "vector":
        return pyarrow.list_(pyarrow.float32())
    if isinstance(value, list):
        fields = {"entity": pyarrow.string(), "score": pyarrow.float64(), "word": pyarrow.string()}
        fields |= {"start": pyarrow.int64(), "end": pyarrow.int64()}
        return pyarrow.list_(pyarrow.struct(list(fields.items())))
    if isinstance(value, dict):
        return pyarrow.struct([(key, pyarrow.float64()) for key in value])
    return {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}[type(value)]

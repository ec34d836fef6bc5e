"""Which columns of a row hold its text and its label, and the label in it."""

from pruneofa.data.sources.rows import Row, column_value
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.labels import label_text
from pruneofa.data.tasks.presets import PRESETS, Columns
from pruneofa.errors import DataError

__all__ = ["columns_of", "label_of"]


def columns_of(config: TaskConfig, row: Row) -> Columns:
    """The columns of text, pair and label: those that are given, else those of the task's form in this source."""
    preset = PRESETS.get(config.task_name)
    forms = preset.columns if preset is not None else ()
    # A form fits with its label, else by its texts alone: test sets have no labels.
    wholly = (form for form in forms if {form.text, form.label, form.pair or form.text} <= row.keys())
    by_text = (form for form in forms if {form.text, form.pair or form.text} <= row.keys())
    # Without a form that fits, the first one's names give the clearest complaint about what is missing.
    form = next(wholly, None) or next(by_text, None) or (forms[0] if forms else Columns("text", None, "label"))
    return Columns(
        config.text_column or form.text, config.text_pair_column or form.pair, config.label_column or form.label
    )


def label_of(row: Row, columns: Columns) -> str | None:
    """The label in a row (see `label_text`); None where it has none.

    Raises:
        DataError: no such column, or it holds what is no label.
    """
    value = column_value(row, columns.label)
    try:
        return label_text(value)
    except ValueError as error:
        raise DataError(
            f"{row.origin}: column {columns.label!r} holds {str(value)[:40]!r}, {error}; give each row one text or one "
            "number, or name another column with label_column"
        ) from None

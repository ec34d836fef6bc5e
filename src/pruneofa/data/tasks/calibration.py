"""The texts that a quantized model's ranges are found on, and its modules compared on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.randomness import Purpose, generator
from pruneofa.data.sources.reading import read_rows
from pruneofa.data.sources.rows import text_value
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.encoded import EncodedDataset, Texts, encode_texts
from pruneofa.data.tasks.presets import QUESTIONS_LENGTH
from pruneofa.errors import DataError

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_DEFAULT_LENGTH = 128


def sample_batches(
    dataset: Any, examples: int, batch_size: int, pad_token_id: int, seed: int, *, targets: Sequence[str] = ()
) -> list[dict[str, torch.Tensor]]:
    """Some examples of a tokenised split, as batches of similar lengths for a model's forward.

    Args:
        dataset: with `lengths`.
        examples: how many, chosen at random; all where there are fewer.
        batch_size: of them in a batch.
        pad_token_id: fills shorter ones.
        seed: of the choice.
        targets: columns that a batch holds beside the inputs, where the examples have them.
    """
    lengths = np.asarray(dataset.lengths)
    chosen = generator(Purpose.ORDER, seed).permutation(len(lengths))[:examples]
    order = chosen[np.argsort(lengths[chosen], kind="stable")]
    collate = PaddingCollator(pad_token_id)
    wanted = (*_INPUTS, *targets)
    batches = []
    for start in range(0, len(order), batch_size):
        batch = collate([dataset[int(index)] for index in order[start : start + batch_size]])
        batches.append({name: values for name, values in batch.items() if name in wanted})
    return batches


def read_texts(
    source: str | list[str], task: TaskConfig | None, tokenizer: Any, model_max_length: int | None
) -> EncodedDataset:
    """Texts without labels, tokenised as the task's are.

    Args:
        source: as of `read_rows`.
        task: names the columns and the longest example; without one: the column text, 128 tokens, or of rows with the
            columns question and context these two, 384 tokens.
        tokenizer: the model's.
        model_max_length: longest sequence that the model takes, in tokens.

    Raises:
        DataError: a source that is missing, faulty or empty, or lacks a column.
    """
    rows = list(read_rows(source))
    if not rows:
        raise DataError(f"the source {source!r} holds no text; calibration needs some")
    column = task.text_column if task is not None else None
    pair = task.text_pair_column if task is not None else None
    if column is None and {"question", "context"} <= rows[0].keys():
        column, pair = "question", "context"
        length = task.settled("question_answering").max_length if task is not None else QUESTIONS_LENGTH
    else:
        column = column or "text"
        length = task.max_length if task is not None else _DEFAULT_LENGTH
    texts: Texts = [  # type: ignore[assignment]  # all texts or all pairs
        text_value(row, column) if pair is None else (text_value(row, column), text_value(row, pair)) for row in rows
    ]
    return encode_texts(texts, np.zeros(len(texts), dtype=np.int64), tokenizer, min(length, model_max_length or 2**31))

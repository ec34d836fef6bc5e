"""Packing of documents into blocks of a fixed length with almost no room left over.

A block is `[CLS] a [SEP] b [SEP] ...`. A document that fits is kept whole; a longer one is cut into windows that fill a
block each, and its rest is packed like a short document. Best fit: each piece goes where it leaves the least room.
"""

import itertools
from collections import defaultdict

import numpy as np
import numpy.typing as npt

from pruneofa.data.pretraining.building.examples import Examples, Frame, gather

__all__ = ["pack_blocks"]

IntArray = npt.NDArray[np.int64]


def pack_blocks(
    tokens: npt.NDArray[np.int32],
    begins: IntArray,
    ends: IntArray,
    numbers: IntArray,
    *,
    max_length: int,
    frame: Frame,
    generator: np.random.Generator,
) -> Examples:
    """Pack tokenised documents into blocks.

    Args:
        tokens: token ids without special tokens.
        begins: where each document begins in `tokens`, shape [documents].
        ends: where it ends, after at least one token, shape [documents].
        numbers: of the documents in the source, shape [documents].
        max_length: longest block in tokens, special tokens counted; at least 3.
        frame: the special tokens.
        generator: decides which documents share a block and the order of the blocks.

    Returns:
        The blocks in random order. Every token of every document is in exactly one of them.
    """
    piece_begins, piece_lengths, owners = _pieces(begins, ends, max_length - 2)
    blocks = _best_fit(piece_lengths.tolist(), max_length - 1, generator)
    counts = np.array([len(block) for block in blocks], dtype=np.int64)
    order = np.fromiter(itertools.chain.from_iterable(blocks), dtype=np.int64, count=len(piece_lengths))
    # Spans of a block: the opening token, then each piece and a closing token.
    opening = np.concatenate([[0], np.cumsum(1 + 2 * counts)])
    document_offsets = np.concatenate([[0], np.cumsum(counts)])
    slots = np.arange(len(order)) * 2 + np.repeat(np.arange(len(blocks)), counts) + 1
    span_begins = np.full(opening[-1], len(tokens) + 1)
    span_lengths = np.ones(opening[-1], dtype=np.int64)
    span_begins[opening[:-1]] = len(tokens)
    span_begins[slots], span_lengths[slots] = piece_begins[order], piece_lengths[order]
    extended = np.concatenate([tokens, np.array([frame.start, frame.end], dtype=np.int32)])
    return Examples(
        input_ids=gather(extended, span_begins, span_lengths),
        offsets=np.concatenate([[0], np.cumsum(span_lengths)])[opening],
        documents=numbers[owners[order]],
        document_offsets=document_offsets,
        facts={"cut_documents": int(np.count_nonzero(ends - begins > max_length - 2))},
    )


def _pieces(begins: IntArray, ends: IntArray, window: int) -> tuple[IntArray, IntArray, IntArray]:
    """Begin, length and document of each piece."""
    counts = -(-(ends - begins) // window)
    owners = np.repeat(np.arange(len(begins)), counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    piece_begins = begins[owners] + within * window
    return piece_begins, np.minimum(window, ends[owners] - piece_begins), owners


def _best_fit(lengths: list[int], room_of_block: int, generator: np.random.Generator) -> list[list[int]]:
    """Blocks, each a list of pieces. A piece takes its length and one closing token of a block's room."""
    open_blocks: dict[int, list[list[int]]] = defaultdict(list)  # room left -> blocks
    rooms = 0  # bit r is set where open_blocks[r] is not empty
    full: list[list[int]] = []
    for piece in generator.permutation(len(lengths)).tolist():
        need = lengths[piece] + 1
        fitting = rooms >> need
        if fitting:
            room = need + (fitting & -fitting).bit_length() - 1
            block = open_blocks[room].pop()
            if not open_blocks[room]:
                rooms &= ~(1 << room)
        else:
            room, block = room_of_block, []
        block.append(piece)
        room -= need
        if room < 2:
            full.append(block)
        else:
            open_blocks[room].append(block)
            rooms |= 1 << room
    blocks = full + [block for room in sorted(open_blocks) for block in open_blocks[room]]
    return [blocks[block] for block in generator.permutation(len(blocks)).tolist()]

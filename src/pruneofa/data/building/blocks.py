"""Packing of documents into blocks of a fixed length with almost no room left over.

A block is `[CLS] a [SEP] b [SEP] ...`. A document that fits is kept whole; a longer one is cut into windows that fill a
block each, and its rest is packed like a short document. Best fit: each piece goes where it leaves the least room.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["pack_blocks"]

IntArray = npt.NDArray[np.int32]


def pack_blocks(
    documents: list[IntArray], *, max_length: int, start: int, end: int, generator: np.random.Generator
) -> list[IntArray]:
    """Pack tokenised documents into blocks.

    Args:
        documents: token ids of each document without special tokens, each [tokens >= 1].
        max_length: longest block in tokens, special tokens counted; at least 3.
        start: id of the token that opens a block.
        end: id of the token that closes each piece.
        generator: decides which documents share a block and the order of the blocks.

    Returns:
        The blocks in random order. Every token of every document is in exactly one of them.
    """
    pieces = list(_pieces(documents, max_length - 2))
    open_blocks: dict[int, list[list[int]]] = defaultdict(list)  # room left -> blocks, each a list of pieces
    rooms = 0  # bit r is set where open_blocks[r] is not empty
    full: list[list[int]] = []
    for piece in generator.permutation(len(pieces)):
        need = len(pieces[piece]) + 1
        fitting = rooms >> need
        if fitting:
            room = need + (fitting & -fitting).bit_length() - 1
            block = open_blocks[room].pop()
            if not open_blocks[room]:
                rooms &= ~(1 << room)
        else:
            room, block = max_length - 1, []
        block.append(int(piece))
        room -= need
        if room < 2:
            full.append(block)
        else:
            open_blocks[room].append(block)
            rooms |= 1 << room
    blocks = full + [block for room in sorted(open_blocks) for block in open_blocks[room]]
    return [
        _join([pieces[piece] for piece in blocks[block]], start, end) for block in generator.permutation(len(blocks))
    ]


def _pieces(documents: list[IntArray], window: int) -> Iterator[IntArray]:
    for document in documents:
        for begin in range(0, len(document), window):
            yield document[begin : begin + window]


def _join(pieces: list[IntArray], start: int, end: int) -> IntArray:
    closing = np.array([end], dtype=np.int32)
    parts = [np.array([start], dtype=np.int32)]
    for piece in pieces:
        parts += (piece, closing)
    return np.concatenate(parts)

import io

from matplotlib.image import imread

from pruneofa.reporting.corpus import corpus_grid, corpus_lines, draw_corpus

LENGTHS = [0] * 10 + [5, 0, 20, 0, 0, 0, 75]
SPLIT = {
    "documents": 40,
    "tokens": 1200,
    "unknown_tokens": 3,
    "sentences": 200,
    "examples": 100,
    "example_tokens": 1490,
    "mean_length": 14.9,
    "cut_sentences": 4,
    "random_next": 51,
    "cut_pairs": 10,
    "cut_tokens": 149,
    "histograms": {"example_lengths": LENGTHS, "document_lengths": [0, 0, 3, 17, 20, *[0] * 27]},
}
RECORD = {
    "settings": {"form": "pairs", "max_length": 16, "seed": 4},
    "tokenizer_sha256": "abcdef0123456789",
    "versions": {"sentence_splitter": {"name": "sentencex", "version": "1.0", "language": "en"}},
    "source": [{"source": "a"}],
    "shards": {"train": [{}] * 7, "validation": []},
    "statistics": {
        "documents": 41,
        "characters": 12_345,
        "dropped_empty": 1,
        "dropped_redirects": 2_000,
        "dropped_other_pages": 0,
        "train": SPLIT,
    },
}
TIMES = {"processes": 2, "seconds": {"tokenize": 6.0, "split_sentences": 2.0, "elapsed": 5.0}}


def test_the_table_says_what_is_in_the_corpus():
    headings, rows = corpus_grid(RECORD)
    cells = {row[0]: row[1:] for row in rows}
    assert headings == ["", "train"]
    assert cells["tokens"] == ["1,200"]
    assert cells["unknown tokens"] == ["3 (0.250 %)"]
    assert cells["document length, tokens, mean"] == ["30"]
    assert cells["example length, 10 / 50 / 90 %"] == ["12 / 16 / 16"]
    assert cells["examples of 16 tokens"] == ["75 (75.0 %)"]
    assert cells["sentences cut"] == ["4 (2.0 %)"]
    assert cells["tokens left out of pairs"] == ["149 (12.4 %)"]
    assert cells["pairs with a random second segment"] == ["51 (51.0 %)"]
    assert "documents cut into several" not in cells
    both = {**RECORD, "statistics": {**RECORD["statistics"], "validation": SPLIT}}
    headings, rows = corpus_grid(both)
    assert headings == ["", "train", "validation"] and all(len(row) == 3 and row[1] == row[2] for row in rows)


def test_the_lines_say_how_it_was_made():
    text = "\n".join(corpus_lines(RECORD, TIMES))
    for expected in (
        "form pairs, up to 16 tokens, seed 4",
        "12,345 characters, 7 shards",
        "documents dropped: 1 empty, 2,000 redirects, 0 other pages",
        "sentences split by sentencex 1.0, language en",
        "built in 5.0 s by 2 processes",
        "tokenize 75.0 %, split sentences 25.0 %",
    ):
        assert expected in text
    assert "built in" not in "\n".join(corpus_lines(RECORD))


def test_the_picture_is_the_same_for_the_same_corpus():
    drawn = draw_corpus(RECORD)
    assert drawn == draw_corpus(RECORD)
    pixels = imread(io.BytesIO(drawn))
    assert pixels.shape[:2] == (500, 1840)
    assert len({tuple(pixel) for pixel in pixels[::5, ::5, :3].reshape(-1, 3).tolist()}) > 3
    one = {
        **RECORD["statistics"],
        "train": {**SPLIT, "histograms": {"example_lengths": [0, 0, 1], "document_lengths": [1]}},
    }
    assert draw_corpus({**RECORD, "statistics": one}) != drawn

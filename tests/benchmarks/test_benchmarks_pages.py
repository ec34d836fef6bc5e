"""Pages drawn from result files: what the marks ask for, and nothing else."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from pages.drawing import VIEWS, render_pages, render_text
from pages.paper import published_grid

from pruneofa.errors import ConfigurationError, DataError
from pruneofa.recipe.published import published_rows, published_text
from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.seeds import seeds_grid, spread, spread_text, summarize_seeds

MADE = {
    "machine": {"processor": "a <fast> one", "cores": "2", "memory": "24 GiB"},
    "commit": "abc",
    "command": "python x.py",
}


def run(variant, sparsity, seed, value, **more):
    return {"variant": variant, "sparsity": sparsity, "seed": seed, "metrics": {"accuracy": value}} | more


def ladder():
    runs = []
    for seed in (0, 1, 2):
        runs.append(run("dense", 0.0, seed, 0.80 + 0.01 * seed))
        for sparsity in (0.85, 0.9):
            runs.append(run("prune_once", sparsity, seed, 0.79 - (sparsity == 0.9) * 0.02))
            runs.append(run("prune_while_finetuning", sparsity, seed, 0.75 + 0.002 * seed))
        curve = [[0, 0.85], [10, 0.4], [100, 0.1]]
        runs.append(run("no_lock", 0.85, seed, 0.80, zeros_over_steps=curve))
    task = {
        "label": "SST-2", "metric": "accuracy", "partial": None, "runs": runs,
        "examples": {"train": 1000, "validation": 50, "evaluation": 200},
    }  # fmt: skip
    half = {"label": "MNLI", "partial": "a part of it", "runs": runs[:3]}
    return MADE | {
        "model": "BERT-tiny", "pretraining": "Ten million tokens.", "seeds": [0, 1, 2], "rule": "Rates: by rule.",
        "tasks": {"sst2": task, "mnli": task | half},
    }  # fmt: skip


@pytest.fixture
def page(tmp_path):
    """A page with marks for views of a file, drawn."""

    def draw(document, *views, text="before\n{}after\n", name="ladder.json"):
        results = tmp_path / "results"
        results.mkdir(exist_ok=True)
        (results / name).write_text(json.dumps(document))
        marks = "".join(
            f"<!-- results/{name}: {view} -->\nold\n<!-- end of results/{name}: {view} -->\n" for view in views
        )
        return render_text(text.format(marks), results, tmp_path)

    return draw


def cells(text, first):
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_ladder_is_tables_with_seeds_as_spread(page, tmp_path):
    text = page(ladder(), "ladder", "recovery", "zeros")
    assert text.startswith("before\n<!-- results/ladder.json: ladder -->") and text.endswith("after\n")
    assert "old" not in text
    assert cells(text, "dense") == ["dense", "0", "81.00 ± 1.00", "80.00"]
    assert cells(text, "pruned once   ") == ["pruned once", "85", "79.00 ± 0.00", "79.00"]
    assert "MNLI, accuracy (partial data)" in text and "Partial data: a part of it." in text
    assert cells(text, "pruned once, 85 %") == ["pruned once, 85 %", "97.5", "98.8"]
    assert cells(text, "SST-2") == ["SST-2", "85", "100.00", "100.00", "47.06", "47.06", "11.76", "+1.00"]
    assert "Rates: by rule." in text and "1,000 training examples, 50 held out" in text
    for name in ("ladder-sparsity.svg", "ladder-recovery.svg"):
        assert f"(figures/{name})" in text
        root = ElementTree.fromstring((tmp_path / "figures" / name).read_text())
        assert root.tag.endswith("svg")
    drawing = (tmp_path / "figures" / "ladder-sparsity.svg").read_text()
    for words in ("SST-2, accuracy", "pruned while fine-tuning", "85 %"):
        assert words in drawing


def test_a_ladders_gap_is_told_apart_seed_by_seed(page):
    document = ladder()
    runs = document["tasks"]["sst2"]["runs"]
    for seed in (0, 1, 2):
        runs.append(run("dense_labels", 0.0, seed, 0.82))
        runs.append(run("dense_distilled", 0.0, seed, 0.80 + 0.01 * seed))
    runs.append(run("no_transfer_distillation", 0.85, 1, 0.805))
    text = page(document, "ladder", "recovery", "gap")
    assert cells(text, "pruned once, 85 %") == ["pruned once, 85 %", "96.3", "98.8"]  # of 0.82, the better dense one
    assert cells(text, "control: dense, trained as the sparse ones, from labels")[1:] == ["0", "82.00 ± 0.00", "-"]
    # 0.79 beside 0.80, 0.81, 0.82; nothing of it on the other task, and of the labels one seed only.
    assert cells(text, "the zeros, both from the teacher")[1:] == ["85", "-2.00 ± 1.00", "-"]
    assert cells(text, "the zeros, both from labels alone")[1:] == ["85", "-1.50", "-"]
    assert cells(text, "the teacher in place of labels, both dense")[1:] == ["0", "-1.00 ± 1.00", "-"]
    assert text.count("both dense") == 1 and text.count("both from the teacher") == 2
    assert cells(text, "the teacher in place of labels, both sparse")[1:] == ["85", "-1.50", "-"]


def test_a_ladder_says_what_is_cut_short(page):
    assert "- Partial: 160 steps a run.\n" in page(ladder() | {"partial": "160 steps a run"}, "ladder")
    assert "- Partial:" not in page(ladder() | {"partial": None}, "ladder")
    assert "- Seeds 0, 1, 2; ±" in page(ladder(), "ladder")
    assert "- Seed 0 alone, so the spread is not known.\n" in page(ladder() | {"seeds": [0]}, "ladder")


def pretrained():
    def model(loss, sparsity=0.0, **more):
        curve = [
            {"step": step, "loss": 9.0, "loss/task": loss + 1 / step, "sparsity/actual": sparsity}
            for step in range(25, 501, 25)
        ] + [{"step": 500, "eval_loss": loss}]
        held_out = {"loss": loss, "accuracy": 0.25, "tokens": 1234.0}
        return {"held_out": held_out, "sparsity": sparsity, "seconds": 1.0, "curve": curve} | more

    file = {
        "name": "tiny-distilled-0.85.pofa", "bytes": 4_900_000, "sha256": "0", "embedding_step": 2.0**-8,
        "held_out": {"loss": 4.25, "accuracy": 0.25, "tokens": 1234.0},
    }  # fmt: skip
    start = {"held_out": model(5.0)["held_out"]}
    models = {"start": start, "dense": model(4.0), "distilled-0.85": model(4.2, 0.85, file=file)}
    models |= {f"undistilled-{x}": model(4.3, x) for x in (0.85, 0.9)} | {"unrewound-0.85": model(4.4, 0.85)}
    return MADE | {"models": models, "data": "Some text", "seeds": [0], "partial": "a tiny model"}


def test_pretrained_models_are_a_table_curves_and_files(page, tmp_path):
    text = page(pretrained(), "pretraining", name="tiny.json")
    assert cells(text, "as it came") == ["as it came", "0.0", "5.000", "+1.000", "148.4", "25.00"]
    assert cells(text, "dense")[3] == "-"
    assert cells(text, "sparse, distilled, rate rewound, 85 %")[1:4] == ["85.0", "4.200", "+0.200"]
    assert "- `results/models/tiny-distilled-0.85.pofa`: sparse, distilled, rate rewound, 85 %, 4.9 MB" in text
    assert "embeddings in steps of 1/256; held-out loss 4.250" in text and "1,234 masked tokens" in text
    drawing = (tmp_path / "figures" / "tiny-loss.svg").read_text()
    for words in ("dense, pre-trained further", "rate not rewound, 85 %", "step"):
        assert words in drawing
    assert "as it came" not in drawing  # it was not trained here


def test_drawing_again_changes_nothing(page, tmp_path):
    first = page(ladder(), "ladder", "recovery")
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert render_text(first, tmp_path / "results", tmp_path) == first
    assert pictures == {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}


def test_the_papers_rows_stand_beside_what_was_measured(page, tmp_path):
    measured = {"row": "bert-base-85-squad", "metrics": {"exact_match": 0.8, "f1": 0.875, "x": 1}, "partial": "half"}
    text = page(measured, "paper", name="row-1.json")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 47
    assert "81.10/88.42" in table[2] and "80.00/87.50 (partial data)" in table[2]
    assert all("not run here: needs weights / data" in line for line in table[3:])
    assert sum("no published figure" in line for line in table) == 12
    assert "2111.05754" in text
    folder = tmp_path
    many = render_text(
        "<!-- results/*.json: paper -->\n<!-- end of results/*.json: paper -->\n", folder / "results", folder
    )
    assert "80.00/87.50 (partial data)" in many


def test_published_figures():
    rows = {row.recipe: row for row in published_rows()}
    assert rows["bert-large-90-mnli"].text == "83.74/84.20" and rows["distilbert-85-qqp"].text == "90.29/86.97"
    assert published_text("bert-base-90-sst2") == "90.88 (paper)"
    assert published_text("demo") == published_text("bert-large-90-int8-qqp") == "no published figure"
    assert len(published_grid()[1]) == 45


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "<!-- results/x.json: ladder -->\n",
            ConfigurationError,
            "has no end; put '<!-- end of results/x.json: ladder",
        ),
        (
            "<!-- results/x.json: nope -->\n<!-- end of results/x.json: nope -->",
            ConfigurationError,
            "an unknown view; known: a",
        ),
        (
            "<!-- results/x.json: ladder -->\n<!-- end of results/x.json: ladder -->",
            DataError,
            "x.json: can't be read as JSON",
        ),
    ],
)
def test_a_mark_that_leads_nowhere(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        render_text(text, tmp_path, tmp_path)


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "paper"])
def test_a_file_of_something_else_is_told(page, view):
    with pytest.raises(DataError, match=r"ladder\.json: holds nothing that this view can draw"):
        page({"what": 1}, view)
    with pytest.raises(DataError, match="holds list, not a document of results"):
        page([1], view)


def test_pages_are_found_beside_the_results(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "l.json").write_text(json.dumps(ladder()))
    (tmp_path / "README.md").write_text("# nothing to draw\n")
    with pytest.raises(ConfigurationError, match=r"has a mark such as .*name the page with --page"):
        render_pages(tmp_path / "results")
    marks = "<!-- results/l.json: zeros -->\n<!-- end of results/l.json: zeros -->\n"
    (tmp_path / "docs" / "results.md").write_text(marks)
    assert render_pages(tmp_path / "results") == [tmp_path / "docs" / "results.md"]
    assert "gain, points" in (tmp_path / "docs" / "results.md").read_text()
    with pytest.raises(ConfigurationError, match="can't be read"):
        render_pages(tmp_path / "results", [tmp_path / "nowhere.md"])


def test_seeds_have_mean_and_spread():
    def rows(value):
        sizes = (0.85, 10, 5, 9, 1.0, 1.0, "f")
        return [ModelRow("dense", {"f1": 0.9}, *sizes), ModelRow("sparse", {"f1": value, "mse": 0.5}, *sizes)]

    found = summarize_seeds({0: rows(0.8), 3: rows(0.9)})
    assert found["seeds"] == [0, 3]
    assert found["models"]["sparse"]["f1"]["mean"] == pytest.approx(0.85)
    assert found["models"]["sparse"]["f1"]["standard_deviation"] == pytest.approx(0.0707, abs=1e-4)
    headings, table = seeds_grid(found)
    assert headings == ["model", "f1 %", "mse"]
    assert table == [["dense", "90.00 ± 0.00", "-"], ["sparse", "85.00 ± 7.07", "0.50 ± 0.00"]]
    one = summarize_seeds({0: rows(0.8), 3: rows(0.9)}, one_teacher=True)["models"]["dense"]["f1"]
    assert one == spread([0.9]) and spread_text(one) == "90.00"


def test_sizes_that_were_made_later_say_so():
    origin = {"machine": {"processor": "P", "cores": "2", "memory": "1 GiB"}, "command": "first", "commit": "a"}
    document = {
        **origin,
        "seeds": [0],
        "data": "reviews",
        "partial": "few",
        "learning_rate_search": {"grid": [0.1], "chosen": {"prune_once": 0.1}},
    }
    plain = VIEWS["notes"]({"demo": document}).markdown
    assert plain.endswith("Commit a. Command: `first`.") and "anew" not in plain
    later = VIEWS["notes"]({"demo": {**document, "sizes_made_by": {**origin, "command": "later", "commit": "b"}}})
    assert later.markdown.startswith(plain) and later.markdown.endswith(
        "compressed anew. Machine: P, 2 cores, 1 GiB. Commit b. Command: `later`."
    )


def test_the_command_draws_the_page_that_is_named(shell, tmp_path):
    (tmp_path / "row.json").write_text('{"row": "bert-base-90-qnli", "metrics": {"accuracy": 0.9}}')
    page = tmp_path / "page.md"
    page.write_text("<!-- results/row.json: paper -->\n<!-- end of results/row.json: paper -->\n")
    command = Path(__file__).parents[2] / "benchmarks" / "draw_pages.py"
    outcome = shell(str(command), "--results", str(tmp_path), "--page", str(page))
    assert outcome.code == 0, outcome.err
    assert "| 89.07 " in page.read_text() and "| 90.00 " in page.read_text()
    page.write_text("nothing is asked for")
    assert shell(str(command), "--results", str(tmp_path), "--page", str(page)).code == 1

"""`pruneofa evaluate --tasks`: a model's embeddings, and another's beside them."""

import json

import pytest


@pytest.fixture
def tasks(tmp_path):
    nouns = ("film", "plot", "cast", "scene", "story", "music")
    rows = [
        f"the {one} was good\tthe {two} was bad\t{5 - i}"
        for i, (one, two) in enumerate(zip(nouns, nouns[::-1], strict=True))
    ]
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n")
    return tmp_path


def test_scores_and_recovery_are_printed_and_written(cli, small_world, tasks, tmp_path):
    outcome = cli(
        "evaluate", small_world.model, "--tasks", "pairs", "--data_dir", tasks, "--against", small_world.model,
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "pairs cosine_spearman" in outcome.out and "(6 examples)" in outcome.out
    assert "mean of 1 tasks: 100.0 % kept (95 % interval 100.0 to 100.0)" in outcome.out
    document = json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert document["recovery"]["mean_ratio"]["value"] == 1.0
    assert document["tasks"] == document["against_tasks"]


def test_what_is_missing_is_named(cli, small_world, tasks):
    lost = cli("evaluate", small_world.model, "--tasks", "pears", "--data_dir", tasks)
    assert lost.code == 1 and "task 'pears'" in lost.err and "it has pairs" in lost.err
    folder = cli("evaluate", small_world.model, "--tasks", "pairs")
    assert folder.code == 2 and "--data_dir: name the folder of the tasks' files" in folder.err
    alone = cli("evaluate", small_world.model, "--against", small_world.model)
    assert alone.code == 2 and "--against: needs --tasks" in alone.err

"""bench, as a user calls it."""

import json

import pytest

FLAGS = ("--lengths", "8,16", "--batches", "1", "--repeats", "2")


@pytest.mark.slow
def test_the_engine_alone_prints_a_table_and_writes_json_and_a_picture(cli, finished_run, tmp_path):
    output, figure = tmp_path / "bench.json", tmp_path / "bench.png"
    outcome = cli(
        "bench", finished_run / "model.pofa", "--against", "none", *FLAGS, "--threads", "1,2",
        "--output", output, "--figure", figure,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [(case["threads"], case["length"]) for case in document["cases"]] == [(1, 8), (1, 16), (2, 8), (2, 16)]
    assert document["model"]["name"] == "model.pofa"
    assert {"processor", "cores", "memory", "instruction sets"} <= set(document["machine"])
    assert document["command"].startswith("pruneofa bench model.pofa --against none")
    assert str(tmp_path) not in json.dumps(document)
    rows = [line for line in outcome.out.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 4
    assert f"active kernel: {document['kernel']}" in outcome.out
    assert "sparsity 84.96 %" in outcome.out
    assert figure.read_bytes().startswith(b"\x89PNG")
    svg = figure.with_suffix(".svg")
    assert cli("bench", finished_run / "model.pofa", "--against", "none", *FLAGS, "--figure", svg).code == 0
    assert "<svg" in svg.read_text(encoding="utf-8")


def test_an_interrupted_run_leaves_the_shapes_that_are_done(cli, finished_run, tmp_path, monkeypatch):
    from pruneofa.benchmarking import competition

    case, done = competition._case, []

    def interrupted(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(case(*arguments))
        return done[0]

    monkeypatch.setattr(competition, "_case", interrupted)
    output = tmp_path / "bench.json"
    outcome = cli("bench", finished_run / "model.pofa", "--against", "none", *FLAGS, "--output", output)
    assert outcome.code == 130
    assert "1 x 8, 1 thread: engine" in outcome.err
    document = json.loads(output.read_text(encoding="utf-8"))
    assert [row["length"] for row in document["cases"]] == [8]
    assert document["finished"] is False


def test_kept_files_are_named_by_the_models_content(finished_run, tmp_path):
    from pruneofa.benchmarking.bench import kept_files

    one, other = tmp_path / "one.pofa", tmp_path / "other.pofa"
    one.write_bytes((finished_run / "model.pofa").read_bytes())
    other.write_bytes(one.read_bytes())
    assert kept_files(tmp_path, str(one)) == kept_files(tmp_path, str(other))
    other.write_bytes(b"another")
    assert len({kept_files(tmp_path, str(path)) for path in (one, other, finished_run / "quantize")}) == 3


def test_json_alone(cli, finished_run):
    outcome = cli("bench", finished_run / "quantize", "--against", "none", *FLAGS, "--kernel", "portable", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["kernel"] == "portable"
    assert [row["name"] for row in document["cases"][0]["rows"]] == ["engine"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--against", "tensorrt"), "--against: 'tensorrt' is no runtime to compare with; allowed: onnxruntime, "),
        (("--against", "none", "--threads", "two"), "--threads: is 'two'; "),
        (("--against", "none", "--batches", "0"), "--batches: is '0'; "),
        (("--against", "none", "--lengths", "8,8"), "--lengths: is [8, 8]; name each once"),
        (("--against", "none", "--lengths", "64"), "lengths: is 64, this model takes 32 tokens at most; give less"),
        (("--against", "none", "--figure", "bench.jpg"), "--figure: is 'bench.jpg'; give a name that ends in .png or"),
        (("--against", "none", "--kernel", "mmx"), "mmx"),
    ],
)
def test_wrong_use_is_told(cli, finished_run, flags, message):
    outcome = cli("bench", finished_run / "model.pofa", *flags)
    assert outcome.code == 2
    assert message in outcome.err


def test_a_missing_peer_is_told_when_it_is_asked_for_and_noted_when_not(cli, finished_run, monkeypatch):
    from pruneofa.benchmarking import peers

    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    asked = cli("bench", finished_run / "model.pofa", "--against", "openvino", *FLAGS)
    assert asked.code == 2
    assert "is not installed; install it with pip install 'pruneofa[train,export,bench]'" in asked.err
    outcome = cli("bench", finished_run / "model.pofa", *FLAGS)
    assert outcome.code == 0, outcome.err
    for peer in ("onnxruntime", "openvino", "torch"):
        assert f"{peer} is left out: " in outcome.err


def test_a_model_that_is_missing_is_told(cli, tmp_path):
    outcome = cli("bench", tmp_path / "none.pofa", "--against", "none")
    assert outcome.code == 1
    assert "there is no such file or folder; give a .pofa file or a model folder" in outcome.err

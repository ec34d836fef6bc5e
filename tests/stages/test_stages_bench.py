"""The stage `bench`: what it times and answers, what it leaves out, what its report shows."""

import dataclasses
import json
import shutil

import pytest

from pruneofa.benchmarking import forms as bench_models
from pruneofa.errors import CheckpointError, ConfigurationError, EngineError
from pruneofa.recipe.files import load_recipe
from pruneofa.reporting.html import render_report
from pruneofa.stages import bench
from pruneofa.workflow.execution import execute
from pruneofa.workflow.preflight import check_run
from pruneofa.workflow.report import write_report
from pruneofa.workflow.stage_list import STAGES

SMALL = "bench={lengths: [8], batches: [1, 3], repeats: 2, pause: 0.0, peers: [%s]}"


@pytest.fixture
def timed(small_world, run_copy):
    """Run the stage on a finished run with these peers; returns the run's folder and the stage's record."""

    def run(peers=""):
        recipe = load_recipe(str(small_world.recipe), [SMALL % peers])
        inputs = {"compressed": "compress", "task_teacher": "finetune", "evaluation": "evaluate"}
        inputs = {name: str(run_copy / folder) for name, folder in inputs.items()}
        record = execute(STAGES["bench"], recipe, inputs, run_copy / "bench")
        shutil.copy(small_world.recipe, run_copy / "recipe.yaml")
        with (run_copy / "recipe.yaml").open("a", encoding="utf-8") as file:
            file.write((SMALL % peers).replace("bench=", "bench: ") + "\n")
        return run_copy, record

    return run


@pytest.mark.slow
def test_the_engine_is_timed_and_answers_texts_of_the_evaluation_split(timed, small_world):
    folder, record = timed()
    speed, answers = record.results["speed"], record.results["answers"]
    assert [(row["batch"], row["length"], row["model"]) for row in speed] == [
        (1, 8, "sparse int8"),
        (3, 8, "sparse int8"),
    ]
    assert all(row["runtime"] == "engine, int8" and row["ratio"] == 1.0 for row in speed)
    lines = small_world.evaluation.read_text(encoding="utf-8").splitlines()
    assert len(answers) == 3
    for answer in answers:
        assert f"{answer['text']},{answer['expected']}" in lines
        assert answer["label"] in ("up", "down")
        assert 0.5 <= answer["score"] <= 1.0
    (agreement,) = (note for note in record.results["notes"] if note.startswith("The engine on all"))
    expected = json.loads((folder / "evaluate" / "predictions-int8_model.json").read_text(encoding="utf-8"))
    found = json.loads((folder / "bench" / "predictions-int8_model.json").read_text(encoding="utf-8"))
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=0.001)
    same = sum(
        one["prediction"] == two["prediction"] for one, two in zip(found["examples"], expected["examples"], strict=True)
    )
    assert f", {100 * same / len(lines[1:]):.2f} % equal answers." in agreement
    assert same >= 0.995 * len(lines[1:])
    document = json.loads((folder / "bench" / "bench.json").read_text(encoding="utf-8"))
    assert document["model"]["sparsity"] == pytest.approx(0.85, abs=1e-3)
    own = document["cases"][0]["rows"][0]
    assert 0 < own["actual_products_per_second"] < own["dense_equivalent_products_per_second"]
    # Of a classification the last layer's queries and all that follows them are computed for the first token alone.
    first = document["model"]["first_tokens_only"]
    pairs = document["model"]["products_per_pair_of_tokens"]
    done = 8 * document["model"]["nonzero_products_per_token"] + 64 * pairs
    done -= 7 * first["nonzero_products_per_token"] + 56 * first["products_per_pair_of_tokens"]
    assert own["actual_products_per_second"] * own["median_seconds"] == pytest.approx(done)
    assert 0 < first["nonzero_products_per_token"] < document["model"]["nonzero_products_per_token"]
    assert 0 < first["products_per_pair_of_tokens"] <= pairs

    data = write_report(folder)
    assert [row.median_seconds for row in data.speed] == [row["median_seconds"] for row in speed]
    page = render_report(data)
    assert '<h2 id="speed">Speed</h2>' in page
    assert answers[0]["text"] in page
    assert json.loads(data.to_json())["answers"] == [dataclasses.asdict(answer) for answer in data.answers]


@pytest.mark.slow
def test_beside_onnx_runtime_stands_the_dense_model_too(timed):
    pytest.importorskip("onnxruntime")
    _, record = timed("onnxruntime")
    rows = [(row["model"], row["runtime"].partition(",")[0]) for row in record.results["speed"]]
    assert rows[: len(rows) // 2] == [
        ("sparse int8", "engine"),
        ("sparse int8", "ONNX Runtime"),
        ("dense", "ONNX Runtime"),
        ("dense int8", "ONNX Runtime"),
    ]
    assert {row["runtime"] for row in record.results["speed"] if row["model"] == "dense"} == {"ONNX Runtime, float32"}


def test_a_peer_that_is_not_installed_is_left_out_and_noted(timed, monkeypatch):
    monkeypatch.setattr(bench, "missing_packages", lambda peer: ["openvino"] if peer == "openvino" else [])
    _, record = timed("openvino")
    assert len(record.results["speed"]) == 2
    assert record.results["notes"][0] == "Speed: OpenVINO is left out, since 'openvino' is not installed."


def test_without_the_compiled_part_the_stage_is_skipped_and_says_so(timed, monkeypatch):
    def missing(kernel):
        raise EngineError("the engine's compiled part cannot be loaded")

    monkeypatch.setattr("pruneofa.benchmarking.bench.active_kernel", missing)
    folder, record = timed()
    assert record.finished
    assert record.results["speed"] == record.results["answers"] == []
    assert record.results["notes"] == ["Speed was not measured: the engine's compiled part cannot be loaded"]
    assert "Speed was not measured" in write_report(folder).notes[-1]


def test_a_recipe_that_makes_no_task_model_has_nothing_to_time(small_world):
    recipe = load_recipe(str(small_world.recipe), [SMALL % "", "transfer=null", "quantize=null"])
    with pytest.raises(
        ConfigurationError, match="bench: times a sparse task model; add the sections task and transfer"
    ):
        check_run(recipe)


def test_a_head_that_the_engine_has_not_is_refused(finished_run, tmp_path):
    with pytest.raises(ConfigurationError, match=r"model is a BertForMaskedLM, whose head the engine does not run"):
        bench_models.prepare_model(str(finished_run / "prune"), (), tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no such file or folder; give a \.pofa file or a model folder"):
        bench_models.prepare_model(str(tmp_path / "nothing"), (), tmp_path)


@pytest.mark.slow
def test_peers_get_attention_products_in_float_and_files_are_kept(finished_run, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = str(finished_run / "quantize")
    first = bench_models.prepare_model(path, ["onnxruntime"], tmp_path)
    times = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.onnx")}
    again = bench_models.prepare_model(path, ["onnxruntime"], tmp_path)
    assert first == again
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.onnx")} == times
    assert {form.name for form in first.contestants[1].forms} == {"int8, Q/DQ", "int8, dynamic"}
    graph = onnx.load(tmp_path / "int8.onnx").graph
    assert any(node.op_type == "Softmax" for node in graph.node)
    assert any(node.op_type == "QuantizeLinear" for node in graph.node)
    assert not any(node.op_type == "QuantizeLinear" for node in onnx.load(tmp_path / "float.onnx").graph.node)

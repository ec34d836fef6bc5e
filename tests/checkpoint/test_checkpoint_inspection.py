"""inspect_model: the figures of a folder and of its compressed file, counted here once more by hand."""

import json

import numpy as np
import pytest
from checkpoint_models import OUTPUT, POOLER, QUERY, make_model, sparse
from safetensors.numpy import load_file, save_file

from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError

KEYS = {
    *("encoder_sparsity", "encoder_parameters", "encoder_nonzero", "bytes_encoder", "bytes_total", "nominal_ratio"),
    *("real_ratio", "tensors", "pooler_sparsity", "bits", "path", "bytes_scales", "entropy_bound_bytes"),
}


@pytest.mark.parametrize("int8", [False, True])
def test_folder_and_file_agree_with_a_count_by_hand(tmp_path, int8):
    model = make_model(tmp_path / "model", int8=int8)
    compress(model, tmp_path / "out.pofa")
    tensors = load_file(model / "model.safetensors")
    parameters = tensors[QUERY].size + tensors[OUTPUT].size
    nonzero = sum(int(np.count_nonzero(tensors[name].view(np.uint32))) for name in (QUERY, OUTPUT))
    bits = 8 if int8 else 32
    folder, file = inspect_model(model).as_dict(), inspect_model(tmp_path / "out.pofa").as_dict()
    for found in (folder, file):
        assert set(found) == KEYS
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["encoder_parameters"] == parameters
        assert found["encoder_nonzero"] == nonzero
        assert found["encoder_sparsity"] == pytest.approx(1 - nonzero / parameters)
        assert found["pooler_sparsity"] == pytest.approx(np.mean(tensors[POOLER] == 0))
        assert found["bits"] == bits
        assert found["nominal_ratio"] == pytest.approx(32 / bits / (1 - found["encoder_sparsity"]))
        assert {t["name"]: t["role"] for t in found["tensors"] if t["role"] != "other"} == {
            QUERY: "encoder",
            OUTPUT: "encoder",
            POOLER: "pooler",
        }
        for report in found["tensors"]:
            assert set(report) == {
                *("name", "shape", "size", "nonzero", "sparsity", "bytes", "encoding", "dtype", "role"),
                "entropy_bound_bytes",
            }
            assert report["shape"] == list(tensors[report["name"]].shape)
    assert folder["bytes_encoder"] == parameters * 4
    assert folder["real_ratio"] == 1.0
    weights = [p for p in model.iterdir() if p.suffix == ".safetensors"]
    assert len(weights) == 1 + int8
    assert folder["bytes_total"] == sum(p.stat().st_size for p in weights)
    masks = 11 * 2 + 16 * 3
    by_hand = 2 * 16 + masks + 8 * (11 + 16) + nonzero * bits // 8 + (4 * (11 + 16) if int8 else 0)
    assert file["bytes_encoder"] == by_hand
    assert file["real_ratio"] == parameters * 4 / by_hand
    assert file["bytes_total"] == (tmp_path / "out.pofa").stat().st_size


def folder_of(path, tensors):
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    return path


def test_names_from_the_caller_and_no_pooler(tmp_path):
    model = folder_of(tmp_path / "model", {"a.weight": sparse((4, 4), 0.5, 1), "b": np.zeros(3, np.float32)})
    found = inspect_model(model, encoder_weights=["a.weight"])
    assert found.pooler_sparsity is None
    assert found.encoder_parameters == 16
    with pytest.raises(CheckpointError, match="pass encoder_weights"):
        inspect_model(model)
    with pytest.raises(CheckpointError, match="the caller names the weight 'c'"):
        inspect_model(model, encoder_weights=["c"])


def test_all_zeros_and_no_elements_give_no_infinite_number(tmp_path):
    zeros = folder_of(tmp_path / "zeros", {"a.weight": np.zeros((4, 4), np.float32)})
    found = inspect_model(zeros, encoder_weights=["a.weight"]).as_dict()
    assert (found["encoder_sparsity"], found["nominal_ratio"], found["real_ratio"]) == (1.0, None, 1.0)
    empty = folder_of(tmp_path / "empty", {"a.weight": np.zeros((0, 4), np.float32)})
    found = inspect_model(empty, encoder_weights=["a.weight"]).as_dict()
    assert (found["encoder_sparsity"], found["nominal_ratio"], found["real_ratio"]) == (0.0, None, None)


def test_minus_zero_counts_as_a_value_and_half_precision_as_16_bits(tmp_path):
    model = folder_of(tmp_path / "model", {"a.weight": np.array([[0.0, -0.0, 1.0, 0.0]], np.float16)})
    found = inspect_model(model, encoder_weights=["a.weight"])
    assert (found.encoder_nonzero, found.bits, found.nominal_ratio, found.real_ratio) == (2, 16, 4.0, 2.0)


def test_the_papers_nominal_ratio(tmp_path):
    """BERT-Large, 90 %, int8: 40X; here with a tenth of the weights left exactly."""
    weight = np.zeros((10, 100), np.float32)
    weight[:, ::10] = 0.5
    model = folder_of(tmp_path / "model", {"a.weight": weight})
    save_file({"a.weight_scale": np.array([0.5], np.float32)}, model / "quantization.safetensors")
    assert inspect_model(model, encoder_weights=["a.weight"]).nominal_ratio == pytest.approx(40.0)
    compress(model, tmp_path / "out.pofa", encoder_weights=["a.weight"])
    assert inspect_model(tmp_path / "out.pofa").nominal_ratio == pytest.approx(40.0)


def test_missing_and_damaged_models(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        inspect_model(tmp_path / "nothing")
    (tmp_path / "x.pofa").write_bytes(b"abc")
    with pytest.raises(CheckpointError, match="truncated"):
        inspect_model(tmp_path / "x.pofa")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds neither"):
        inspect_model(tmp_path / "empty")

"""What each version of the file may hold: int8 tables without a mask, tables that follow the scales of rows."""

import numpy as np
import pytest
from checkpoint_models import EMBEDDING, contents, forge, make_model, unpack
from safetensors.numpy import load_file, save_file
from test_checkpoint_packed_hostile import NAME, model_file, scaled_file

from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.writer import compress
from pruneofa.errors import CheckpointError


@pytest.mark.parametrize("form", ["bitmask", "packed"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_an_int8_table_without_zeros_has_no_mask(tmp_path, form, per_channel):
    model = make_model(tmp_path / "model", int8=True, per_channel=per_channel)
    tensors, scales = (load_file(model / f"{name}.safetensors") for name in ("model", "quantization"))
    scale = np.linspace(0.01, 0.02, 20 if per_channel else 1, dtype=np.float32)
    levels = np.random.default_rng(0).integers(-128, 128, size=(20, 9)).astype(np.int8)
    levels[3, 4] = 0
    tensors[EMBEDDING] = levels.astype(np.float32) * scale[:, None]
    save_file(tensors, model / "model.safetensors")
    save_file({**scales, f"{EMBEDDING}_scale": scale}, model / "quantization.safetensors")
    summary = compress(model, tmp_path / "out.pofa", form=form)
    found = read_pofa(tmp_path / "out.pofa")
    assert summary.dense_int8 == 1
    assert found.entry(EMBEDDING).encoding == "dense_int8"
    np.testing.assert_array_equal(found.stored_values(EMBEDDING), levels)
    _, metadata = unpack((tmp_path / "out.pofa").read_bytes())
    assert metadata["format_version"] == "3"
    table = {tensor.name: tensor for tensor in inspect_model(tmp_path / "out.pofa").tensors}[EMBEDDING]
    assert (table.bytes, table.bits, table.nonzero) == (levels.size + 4 * scale.size, 8, np.count_nonzero(levels))
    decompress(tmp_path / "out.pofa", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(model)

    def older(texts):
        texts["format_version"] = "1" if form == "bitmask" else "2"

    forge(tmp_path / "out.pofa", metadata=older)
    with pytest.raises(CheckpointError, match="encoding is 'dense_int8', allowed is one of dense, bitmask"):
        read_pofa(tmp_path / "out.pofa")


def test_files_without_what_is_new_stay_version_1(tmp_path):
    compress(make_model(tmp_path / "model", int8=True), tmp_path / "out.pofa")
    _, metadata = unpack((tmp_path / "out.pofa").read_bytes())
    assert metadata["format_version"] == "1"


def test_files_of_version_2_are_read_and_may_hold_no_unit(tmp_path):
    """Version 2 is the packed form as it was before tables could follow scales."""
    path = model_file(tmp_path)
    before = read_pofa(path).tensor(NAME).tobytes()
    forge(path, metadata=lambda t: t.update(format_version="2"))
    assert read_pofa(path).tensor(NAME).tobytes() == before

    (tmp_path / "rows").mkdir()
    path = scaled_file(tmp_path / "rows")
    forge(path, metadata=lambda t: t.update(format_version="2"))
    with pytest.raises(CheckpointError, match="coded planes 129, allowed is 1 to 1"):
        read_pofa(path).tensor(NAME)

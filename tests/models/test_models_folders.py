"""Folders from elsewhere: without architectures, with leftovers, with the encoder in a folder of its own."""

import json
import os
import stat

import pytest
from odd_folders import change, write_model

from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import inspect_model
from pruneofa.errors import CheckpointError
from pruneofa.models.compressed import load_compressed
from pruneofa.models.folder_compression import compress_model, weight_names
from pruneofa.models.loading import load_config, load_model, load_tokenizer
from pruneofa.models.saving import save_model

LEFTOVERS = [
    *("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot", "model.onnx", "optimizer.pt"),
    *("scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json", "train_logits.safetensors"),
    *("onnx/model.onnx", "onnx/config.json", "openvino/openvino_model.xml", "checkpoint-10/model.safetensors"),
    *("runs/events.out.tfevents.1", "events.out.tfevents.2"),
]
KEPT = ["1_Pooling/config.json", "2_Dense/pytorch_model.bin", "2_Dense/model.safetensors", "README.md", "merges.txt"]


def write(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * (number + 1))


@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification", "ForMaskedLM"])
@pytest.mark.parametrize("architectures", [None, ["BertModel"], ["BertForQuestionAnswering"]])
def test_weights_are_found_whatever_the_architectures_say(tmp_path, head, architectures):
    folder = tmp_path / "model"
    write_model(folder, head=head)
    change(folder, "config.json", architectures=architectures)
    encoder, pooler = weight_names(str(folder))
    found = inspect_model(folder, encoder, pooler)
    assert sum(tensor.role == "encoder" for tensor in found.tensors) == 12
    assert compress_model(str(folder), str(tmp_path / "m.pofa")).bytes_written > 0


def test_leftovers_are_left_out_and_named_with_their_bytes(tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    write(folder, KEPT)
    alone = compress_model(str(folder), str(tmp_path / "alone.pofa"))
    assert alone.left_out == {}
    write(folder, LEFTOVERS)
    with (folder / "pytorch_model.bin").open("wb") as file:
        file.truncate(65 * 2**20)
    with_them = compress_model(str(folder), str(tmp_path / "m.pofa"))
    assert with_them.bytes_written == alone.bytes_written
    sizes = {name: number + 1 for number, name in enumerate(LEFTOVERS)} | {"pytorch_model.bin": 65 * 2**20}
    assert with_them.left_out == sizes
    decompress(tmp_path / "m.pofa", tmp_path / "back")
    for name in KEPT:
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    assert not (tmp_path / "back" / "onnx").exists()


def test_leftovers_are_not_uploaded(tmp_path):
    from pruneofa.workflow.hub import push_to_hub

    folder = tmp_path / "model"
    write_model(folder)
    write(folder, ["optimizer.pt", "onnx/model.onnx", "1_Pooling/config.json"])
    summary = push_to_hub(folder, "me/model", dry_run=True)
    assert summary.left_out == {"onnx/model.onnx": 2, "optimizer.pt": 1}
    assert not set(summary.files) & set(summary.left_out)
    assert "1_Pooling/config.json" in summary.files
    added = push_to_hub(folder, "me/model", dry_run=True, files=[folder / "onnx" / "model.onnx"])
    assert "model.onnx" in added.files


def test_saved_files_may_be_read_by_others_as_the_umask_says(tmp_path):
    from transformers import AutoModel, AutoTokenizer

    write_model(tmp_path / "model", head="Model")
    model, tokenizer = AutoModel.from_pretrained(tmp_path / "model"), AutoTokenizer.from_pretrained(tmp_path / "model")
    before = os.umask(0o027)
    try:
        save_model(model, tokenizer, tmp_path / "saved", stage="test")
    finally:
        os.umask(before)
    for file in (tmp_path / "saved").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o640 == 0o640, file.name


def test_an_encoder_in_a_folder_of_its_own(tmp_path):
    import torch
    from transformers import AutoModel

    folder = tmp_path / "model"
    write_model(folder / "0_Transformer", head="Model")
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "path": "0_Transformer", "type": "x.Transformer"}]))
    compress_model(str(folder), str(tmp_path / "m.pofa"))
    assert load_config(str(folder)).vocab_size == load_config(str(tmp_path / "m.pofa")).vocab_size
    assert len(load_tokenizer(str(tmp_path / "m.pofa"))) == len(load_tokenizer(str(folder)))
    expected = AutoModel.from_pretrained(folder / "0_Transformer").state_dict()
    for model in (load_model(AutoModel, str(folder)), load_compressed(str(tmp_path / "m.pofa"))):
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    decompress(tmp_path / "m.pofa", tmp_path / "back")
    for name in ("0_Transformer/model.safetensors", "0_Transformer/tokenizer.json", "modules.json"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "path": "../0_Transformer", "type": "x.Transformer"}]))
    with pytest.raises(CheckpointError, match=r"path is .*, allowed is a folder below this one"):
        load_config(str(folder))


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
def test_sentence_files_go_along_and_name_the_new_folders_own_encoder(tmp_path, inner):
    from pruneofa.engine.engine import Engine
    from pruneofa.models.opened import open_model
    from pruneofa.models.sentence_files import carry_sentence_files

    folder, copy = tmp_path / "model", tmp_path / "copy"
    for place in (folder / inner, copy):
        write_model(place, head="Model")
    change(folder / inner, "sentence_bert_config.json", max_seq_length=5)
    kinds = {inner: "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    change(folder / "1_Pooling", "config.json", pooling_mode_cls_token=True)
    carried = carry_sentence_files(open_model(str(folder)), copy)
    assert set(carried) == {"modules.json", "sentence_bert_config.json", "1_Pooling/config.json"}
    text = "the cat sat on a mat"
    assert (Engine.load(copy).embed(text) == Engine.load(folder).embed(text)).all()

"""A folder means the same to transformers, `evaluate`, the engine, a compressed file and ONNX, however odd it is."""

import json

import numpy as np
import pytest
import torch
from odd_folders import NEW_TOKEN_EDITS, TOKENIZER_EDITS, change, random_texts, write_model

from pruneofa.data.tasks.config import TaskConfig
from pruneofa.engine.engine import Engine
from pruneofa.errors import DataError
from pruneofa.models.folder_compression import compress_model
from pruneofa.stages.evaluate import evaluate_model

pytestmark = pytest.mark.slow

TEXTS = random_texts(200)
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))


def references(folder, items):
    """Transformers' logits, one item after the other, cut as its tokenizer and its positions say."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    positions = model.config.max_position_embeddings - (2 if model.config.model_type == "mpnet" else 0)
    limit = min(tokenizer.model_max_length, positions)
    logits = []
    with torch.no_grad():
        for item in items:
            given = (item,) if isinstance(item, str) else item
            inputs = tokenizer(*given, truncation=True, max_length=limit, return_tensors="pt")
            logits.append(model(**inputs).logits[0].numpy())
    return np.array(logits)


def engine_logits(path, items):
    found = Engine.load(path, precision="float32").classify(items, raw_scores=True)
    return np.array([list(one.scores.values()) for one in found])


def evaluated(path, items, folder, engine=False):
    columns = ("text", "pair") if isinstance(items[0], tuple) else ("text",)
    rows = [dict(zip(columns, (item,) if isinstance(item, str) else item, strict=True)) for item in items]
    data = folder.parent / "rows.jsonl"
    data.write_text("\n".join(json.dumps({**row, "label": f"LABEL_{i % 3}"}) for i, row in enumerate(rows)))
    pair = "pair" if "pair" in columns else None
    task = TaskConfig(train="unused", evaluation=str(data), kind="classification", text_pair_column=pair)
    document = evaluate_model(str(path), task, engine=engine).documents["evaluation"]
    return np.array([example["logits"] for example in document["examples"]])


def assert_all_the_same(folder, items):
    expected = references(folder, items)
    compress_model(str(folder), str(folder.parent / "model.pofa"))
    for name, found in {
        "engine": engine_logits(folder, items),
        "engine on the compressed file": engine_logits(folder.parent / "model.pofa", items),
        "evaluate": evaluated(folder, items, folder),
        "evaluate on the compressed file": evaluated(folder.parent / "model.pofa", items, folder),
    }.items():
        np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("edit", TOKENIZER_EDITS)
def test_an_odd_tokenizer(tmp_path, edit):
    folder = tmp_path / "model"
    write_model(folder)
    TOKENIZER_EDITS[edit](folder)
    assert_all_the_same(folder, TEXTS)


@pytest.mark.parametrize("edit", ["as saved", "cut on the left", "a short length", "DistilBERT's class", "input names"])
def test_pairs(tmp_path, edit):
    folder = tmp_path / "model"
    write_model(folder, seed=1)
    TOKENIZER_EDITS[edit](folder)
    assert_all_the_same(folder, PAIRS)


@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
@pytest.mark.parametrize("items", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_families(tmp_path, family, items):
    folder = tmp_path / "model"
    write_model(folder, family=family)
    assert_all_the_same(folder, items)


@pytest.mark.parametrize("edit", ["as saved", "cut on the left"])
def test_answers_over_windows_of_a_short_model(tmp_path, edit):
    folder = tmp_path / "model"
    write_model(folder, head="ForQuestionAnswering", num_labels=2)
    TOKENIZER_EDITS[edit](folder)
    rows = [
        {"id": str(i), "question": question, "context": context, "answers": {"text": [], "answer_start": []}}
        for i, (question, context) in enumerate(
            zip(random_texts(40, 40, seed=1), random_texts(40, 200, seed=2), strict=True)
        )
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = TaskConfig(train="unused", evaluation=str(tmp_path / "rows.jsonl"), kind="question_answering")
    examples = evaluate_model(str(folder), task).documents["evaluation"]["examples"]
    engine = Engine.load(folder, precision="float32")
    for row, example in zip(rows, examples, strict=True):
        found = engine.answer(row["question"], row["context"], null_threshold=0.0)
        assert found.null_score_difference == pytest.approx(example["null_score_difference"], abs=1e-4)
        assert found.text == example["prediction"]


def test_a_token_beyond_the_table_is_named(tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    NEW_TOKEN_EDITS["a new token"](folder)
    with pytest.raises(DataError, match=r"example 1 holds the token 'New', number \d+, but the model's table has"):
        evaluated(folder, ["the cat", "the New cat"], folder)


def test_no_padding_token_is_told(tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    change(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", pad_token=None)
    with pytest.raises(DataError, match="the tokenizer has no padding token"):
        evaluated(folder, ["the cat", "the cat sat"], folder)
    assert engine_logits(folder, ["the cat"]).shape == (1, 3)


@pytest.mark.parametrize("edit", ["cut on the left", "DistilBERT's class", "a short length"])
def test_an_exported_graph_beside_its_folder(tmp_path, edit):
    from pruneofa.export.export_model import export_model

    folder = tmp_path / "model"
    write_model(folder, seed=2)
    TOKENIZER_EDITS[edit](folder)
    export_model(str(folder), folder / "model.onnx", verify=False)
    found = evaluated(folder / "model.onnx", PAIRS, folder)
    np.testing.assert_allclose(found, references(folder, PAIRS), atol=2e-5)

"""The Python code of README and docs runs as it is printed, beside small stand-ins for what the reader has.

Each block has an entry in `READERS`; a new block without one fails, so that none is forgotten.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

Run = Callable[[str, Any, Path, Path], None]
"""Runs the code of a block; arguments are the code, the small world, a finished run, and the empty current folder."""


def blocks() -> Iterator[tuple[str, str]]:
    """Page and code of every block."""
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
            yield str(page.relative_to(ROOT)), match[1]


def run(code: str, **given: Any) -> dict[str, Any]:
    """Run a block as a script of its own, in which the reader has some names already."""
    names = {"__name__": "__main__", **given}
    exec(compile(code, "the page", "exec"), names)
    return names


def trained(world: Any, count: int) -> dict[str, Any]:
    """What a reader who trains has: student, teacher, data, optimizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    models = [AutoModelForSequenceClassification.from_pretrained(world.model) for _ in range(2)]
    tokenizer = AutoTokenizer.from_pretrained(world.model)
    texts = [line.split(",")[0] for line in world.train.read_text(encoding="utf-8").splitlines()[1:5]]
    batch = {**tokenizer(texts, padding=True, return_tensors="pt"), "labels": torch.tensor([0, 1, 0, 1])}
    student, teacher = models
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    given = {"student": student, "teacher": teacher, "tokenizer": tokenizer, "optimizer": optimizer, "torch": torch}
    return {**given, "batches": [batch] * count}


def readme_engine(code: str, world: Any, finished: Path, here: Path) -> None:
    (here / "runs" / "demo").mkdir(parents=True)
    shutil.copy(finished / "model.pofa", here / "runs" / "demo" / "model.pofa")
    run(code)


def readme_loop(code: str, world: Any, finished: Path, here: Path) -> None:
    from pruneofa.architectures.linears import encoder_linears
    from pruneofa.models.compressed import load_compressed

    given = trained(world, 101)  # the first weights go after 100 steps
    run(code, **given)
    student, optimizer = given["student"], given["optimizer"]
    saved = [linear.weight == 0 for linear in encoder_linears(load_compressed(here / "model.pofa")).values()]
    assert 0.04 < sum(int(zeros.sum()) for zeros in saved) / sum(zeros.numel() for zeros in saved) < 0.07
    for batch in given["batches"][:3]:  # "zeros stay zero from here on"
        student(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for zeros, linear in zip(saved, encoder_linears(student).values(), strict=True):
        assert not linear.weight[zeros].any()


def readme_trainer(code: str, world: Any, finished: Path, here: Path) -> None:
    from transformers import TrainingArguments

    from pruneofa import DistillationConfig, Distiller, Pruner, SparsityConfig
    from pruneofa.data.batches.batching import PaddingCollator

    given = trained(world, 1)
    batch = given["batches"][0]
    examples = [{name: values[row].tolist() for name, values in batch.items() if name != "labels"} for row in range(4)]
    dataset = [{**example, "label": row % 2} for row, example in enumerate(examples)]
    pruner = Pruner(given["student"], SparsityConfig(target_sparsity=0.5, end_step=2, update_every=1))
    names = run(
        code,
        **given,
        dataset=dataset,
        collator=PaddingCollator(0),
        pruner=pruner,
        distiller=Distiller(given["teacher"], DistillationConfig()),
        arguments=TrainingArguments("out", max_steps=3, report_to=[], use_cpu=True, disable_tqdm=True),
    )
    assert pruner.sparsity == pytest.approx(0.5, abs=1e-3)
    assert names["trainer"].state.global_step == 3


def readme_int8(code: str, world: Any, finished: Path, here: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(finished / "transfer").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished / "transfer")
    batch = dict(tokenizer(["the film was good", "the plot was dull and cold"], padding=True, return_tensors="pt"))
    with torch.no_grad():
        exact = model(**batch).logits
        names = run(code, model=model, tokenizer=tokenizer, batches=[batch])
        rounded = names["model"](**batch).logits
    assert 0 < (rounded - exact).abs().max() < 0.2


def corpus(code: str, world: Any, finished: Path, here: Path) -> None:
    from transformers import AutoTokenizer

    texts = here / "texts"
    texts.mkdir()
    documents = world.corpus.read_text(encoding="utf-8").split("\n\n")
    lines = [f'{{"text": "{document.strip()}. {document.strip()}. And this was it."}}' for document in documents]
    (texts / "some.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for printed, here_instead in (
        ('AutoTokenizer.from_pretrained("bert-base-uncased")', f'AutoTokenizer.from_pretrained("{world.model}")'),
        ("processes=16", "processes=1"),
        (".jsonl.zst", ".jsonl"),
        ("max_length=512", "max_length=32"),
    ):
        assert printed in code
        code = code.replace(printed, here_instead)
    names = run(code)
    assert len(names["splits"]["train"]) > 0
    assert AutoTokenizer is names["AutoTokenizer"]


def engine(code: str, world: Any, finished: Path, here: Path) -> None:
    """Each call is one on a model that has it."""
    import numpy as np
    import torch
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForQuestionAnswering,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )

    from pruneofa.models.compressed import save_compressed

    torch.manual_seed(0)
    config, tokenizer = AutoConfig.from_pretrained(world.model), AutoTokenizer.from_pretrained(world.model)
    bare = AutoModel.from_config(config)
    models = {"answer": AutoModelForQuestionAnswering, "label_tokens": AutoModelForTokenClassification}
    files = {call: save_compressed(kind.from_config(config), here / f"{call}.pofa", tokenizer=tokenizer).path
             for call, kind in models.items()}  # fmt: skip
    files |= dict.fromkeys(("embed", "run"), save_compressed(bare, here / "bare.pofa", tokenizer=tokenizer).path)
    files["classify"] = finished / "model.pofa"
    head, *calls = code.rstrip().splitlines()[2:]
    seen = set()
    for call in calls:
        name = re.match(r"engine\.(\w+)\(", call)[1]
        seen.add(name)
        shutil.copy(files[name], here / "model.pofa")
        ids = np.array([[2, 5, 3]])
        run(f"from pruneofa import Engine\n{head}\n{call}", input_ids=ids, attention_mask=np.ones_like(ids))
    assert seen == set(files)


def exported(code: str, world: Any, finished: Path, here: Path, runtime: str) -> None:
    pytest.importorskip("onnx")
    module = pytest.importorskip(runtime)
    from transformers import AutoTokenizer

    from pruneofa.export.export_model import export_model

    export_model(str(finished / "quantize"), here / "model.onnx", verify=False)
    names = run(code, tokenizer=AutoTokenizer.from_pretrained(finished / "quantize"), **{runtime: module})
    if runtime == "onnxruntime":
        assert names["outputs"][0].shape == (2, 2)


def own_saliency(code: str, world: Any, finished: Path, here: Path) -> None:
    from pruneofa.sparsity.saliency import saliencies

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saliencies, "_SALIENCIES", dict(saliencies.saliencies()))
        run(code)


def run_elsewhere(test: str) -> Run:
    """A block that another test reads from its page and runs."""

    def check(code: str, world: Any, finished: Path, here: Path) -> None:
        assert "```python" in (text := (ROOT / test).read_text(encoding="utf-8")) or "block(" in text
        compile(code, "the page", "exec")

    return check


READERS: dict[tuple[str, str], Run] = {
    ("README.md", 'Engine.load("runs/demo/model.pofa")'): readme_engine,
    ("README.md", "pruner.attach(optimizer)"): readme_loop,
    ("README.md", "SparseTrainer("): readme_trainer,
    ("README.md", "prepare_qat(model"): readme_int8,
    ("docs/corpus.md", "build_corpus("): corpus,
    ("docs/engine.md", 'Engine.load("model.pofa"'): engine,
    ("docs/export.md", "onnxruntime.InferenceSession"): lambda *given: exported(*given, "onnxruntime"),
    ("docs/export.md", "openvino.Core()"): lambda *given: exported(*given, "openvino"),
    ("docs/format.md", "def read_packed("): run_elsewhere("tests/checkpoint/test_checkpoint_format_page.py"),
    ("docs/format.md", "def read_tensor("): run_elsewhere("tests/checkpoint/test_checkpoint_format_page.py"),
    ("docs/method.md", "register_saliency("): own_saliency,
    ("docs/method.md", "EpochBatchSampler("): run_elsewhere("tests/training/test_training_plain_loop.py"),
}
"""Page and a part of the block's code -> how a reader comes to run it."""


@pytest.mark.parametrize(("page", "code"), list(blocks()), ids=lambda value: value.strip().splitlines()[-1][:40])
def test_the_code_of_a_page_runs(page, code, small_world, finished_run, tmp_path, monkeypatch):
    readers = [reader for (name, part), reader in READERS.items() if name == page and part in code]
    assert len(readers) == 1, f"{page}: give READERS an entry for this block:\n{code}"
    monkeypatch.chdir(tmp_path)
    readers[0](code, small_world, finished_run, tmp_path)


def test_every_entry_is_of_a_block():
    found = list(blocks())
    assert all(any(page == name and part in code for page, code in found) for name, part in READERS)


def test_what_the_pages_import_from_the_front_door_is_public():
    import pruneofa

    for _, code in blocks():
        for names in re.findall(r"^from pruneofa import (.*)$", code, re.MULTILINE):
            assert {name.strip() for name in names.split(",")} <= set(pruneofa.__all__)

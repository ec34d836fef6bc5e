"""What all tests share: no network, one thread, and a small world (model, tokenizer, text, task) made on the spot."""

import logging
import os

# Before torch and the hub's client are imported: they read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

_NOUNS = ("film", "plot", "cast", "scene", "story", "music")
_GOOD = ("good", "great", "fresh", "warm")
_BAD = ("bad", "dull", "stale", "cold")
_OTHER = ("the", "a", "was", "is", "very", "and", "of", "this", "one")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class SmallWorld:
    """Files of a small world.

    Attributes:
        model: folder of a random BERT of two layers with its tokenizer; it takes 32 tokens.
        corpus: text file, documents between blank lines.
        train, evaluation: CSV files with the columns `text` and `label`.
        recipe: YAML file of a whole run over them, some seconds long.
    """

    model: Path
    corpus: Path
    train: Path
    evaluation: Path
    recipe: Path


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str


def _sentence(chooser: random.Random, words: tuple[str, ...]) -> str:
    noun, other = chooser.choice(_NOUNS), chooser.choice(_NOUNS)
    return f"the {noun} was {chooser.choice(words)} and this {other} is very {chooser.choice(words)}"


def _write_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    vocabulary = [*_SPECIAL, *_NOUNS, *_GOOD, *_BAD, *_OTHER]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
    )
    state = torch.get_rng_state()
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    torch.set_rng_state(state)


_RECIPE = """\
name: small
model:
  name_or_path: {model}
corpus:
  source: {corpus}
  max_length: 16
  validation_fraction: 0.1
teach:
  training: &training
    max_steps: 4
    per_device_train_batch_size: 8
    learning_rate: 1.0e-3
    precision: float32
    logging_steps: 1
    save_steps: 2
prune:
  training:
    <<: *training
    max_steps: 8
    lr_scheduler_type: rewinding
  sparsity:
    target_sparsity: 0.85
    end_step: 4
    update_every: 1
    freeze_step: 6
  distillation:
    tokens: masked
task:
  task_name: mood
  train: {train}
  evaluation: {evaluation}
  max_length: 16
finetune:
  training:
    <<: *training
    max_steps: 12
transfer:
  training: *training
quantize:
  training: *training
  quantization:
    freeze_observers_step: 3
"""


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Made once; tests that change a file of it work on a copy."""
    folder = tmp_path_factory.mktemp("world")
    chooser = random.Random(0)
    world = SmallWorld(
        folder / "model", folder / "corpus.txt", folder / "train.csv", folder / "dev.csv", folder / "small.yaml"
    )
    _write_model(world.model)
    documents = [_sentence(chooser, chooser.choice((_GOOD, _BAD))) for _ in range(60)]
    world.corpus.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    for path, count in ((world.train, 48), (world.evaluation, 16)):
        rows = [
            f"{_sentence(chooser, words)},{label}"
            for _ in range(count // 2)
            for words, label in ((_GOOD, "up"), (_BAD, "down"))
        ]
        path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    world.recipe.write_text(
        _RECIPE.format(model=world.model, corpus=world.corpus, train=world.train, evaluation=world.evaluation),
        encoding="utf-8",
    )
    return world


@pytest.fixture(scope="session")
def finished_run(small_world: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a whole run of the small recipe; read it, don't change it."""
    from pruneofa.recipe.files import load_recipe
    from pruneofa.workflow.pipeline import run_pipeline

    folder = tmp_path_factory.mktemp("runs") / "small"
    run_pipeline(load_recipe(str(small_world.recipe)), folder)
    return folder


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "small"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Call the command line in this process, from its real entry point."""
    from pruneofa.cli.main import main

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pruneofa", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        root, own = logging.getLogger(), logging.getLogger("pruneofa")
        before = (root.handlers[:], root.level, own.level)
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:  # the command sets up the process's messages, which must not reach the next test
            root.handlers[:] = before[0]
            root.setLevel(before[1])
            own.setLevel(before[2])
        streams = capsys.readouterr()
        return Outcome(code, streams.out, streams.err)

    return call


@pytest.fixture
def shell() -> Callable[..., Outcome]:
    """Call `python ARGUMENTS` in a process of its own."""

    def call(*arguments: object) -> Outcome:
        ended = subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
        )
        return Outcome(ended.returncode, ended.stdout, ended.stderr)

    return call

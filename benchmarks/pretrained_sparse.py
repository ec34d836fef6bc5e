"""Sparse pre-trained models on Wikipedia: the dense teacher, and students with and without it, by held-out loss.

Variants: `dense` (teacher preparation), at each sparsity a student with distillation (`distilled`), and at the lowest
one that minimises the masked tokens' cross-entropy alone (`undistilled`); all from the same dense model, on the same
tokens.
Every stage is kept in the work folder, with checkpoints, so this can be broken off and called again; `--variants`
leaves the rest to another process. Held-out articles take no part in training or in any choice.

    python benchmarks/pretrained_sparse.py --data-dir DATA/wiki_en_2015 --variants dense
    python benchmarks/pretrained_sparse.py --data-dir DATA/wiki_en_2015 --output results/pretrained_tiny.json

DATA-DIR holds `train.jsonl.xz` and `heldout.jsonl.xz`, JSON lines with `text`.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from provenance import provenance
from torch.utils.data import DataLoader

from pruneofa.atomic import write_json
from pruneofa.data.batching import PaddingCollator
from pruneofa.data.corpus import load_corpus
from pruneofa.data.masking import IGNORED_LABEL, MaskedLanguageModelDataset
from pruneofa.distillation.token_selection import head_on_tokens
from pruneofa.pipeline import STAGES
from pruneofa.recipe import Recipe
from pruneofa.recipe_files import load_recipe
from pruneofa.stages.corpus import DATA_FOLDER
from pruneofa.stages.execution import execute
from pruneofa.stages.models import load_log, load_model, load_tokenizer
from pruneofa.stages.record import read_record

SPARSITIES = (0.85, 0.9)
HELD_OUT_SEED = 0


def variants() -> dict[str, list[str]]:
    """Overrides of the recipe for each variant; the first is the teacher of the others."""
    found: dict[str, list[str]] = {"dense": []}
    for sparsity in SPARSITIES:
        found[f"distilled-{sparsity:g}"] = [f"prune.sparsity.target_sparsity={sparsity}"]
    lowest = SPARSITIES[0]
    found[f"undistilled-{lowest:g}"] = [f"prune.sparsity.target_sparsity={lowest}", "prune.distillation=null"]
    return found


def recipe_for(arguments: argparse.Namespace, overrides: list[str]) -> Recipe:
    """The recipe on the given text."""
    sources = json.dumps([str(arguments.data_dir / name) for name in arguments.train_files])
    return load_recipe(str(arguments.recipe), [f"corpus.source={sources}", f"seed={arguments.seed}", *overrides])


def train(name: str, overrides: list[str], arguments: argparse.Namespace) -> Path:
    """Run the stages that lead to a variant, where they have not run; return its folder."""
    recipe = recipe_for(arguments, overrides)
    work = arguments.work_dir
    inputs = {"model": recipe.model.name_or_path, "corpus": str(work / "corpus"), "dense": str(work / "dense")}
    execute(STAGES["corpus"], recipe, inputs, work / "corpus", replace_stale=True)
    execute(STAGES["teach"], recipe, inputs, work / "dense", replace_stale=True)
    if name != "dense":
        execute(STAGES["prune"], recipe, inputs, work / name, replace_stale=True)
    return Path(work / name)


def held_out_corpus(arguments: argparse.Namespace) -> Path:
    """The held-out articles, cut as the training text is."""
    overrides = [
        f"corpus.source={json.dumps([str(arguments.data_dir / arguments.heldout_file)])}",
        "corpus.validation_fraction=0",
    ]
    recipe = recipe_for(arguments, overrides)
    folder = arguments.work_dir / "heldout"
    execute(STAGES["corpus"], recipe, {"model": recipe.model.name_or_path}, folder, replace_stale=True)
    return Path(folder)


@torch.no_grad()
def held_out_loss(model_path: str, corpus: Path) -> dict[str, float]:
    """Cross-entropy in nats and accuracy on masked tokens (15 %, the same ones for every model)."""
    from transformers import AutoModelForMaskedLM

    tokenizer = load_tokenizer(model_path)
    model = load_model(AutoModelForMaskedLM, model_path, head_is_trained=True).eval()
    blocks = load_corpus(corpus / DATA_FOLDER, tokenizer)["train"]
    dataset = MaskedLanguageModelDataset(blocks, tokenizer, HELD_OUT_SEED)
    total = correct = count = 0.0
    for batch in DataLoader(dataset, batch_size=64, collate_fn=PaddingCollator(tokenizer.pad_token_id)):
        chosen = batch["labels"] != IGNORED_LABEL
        labels = batch.pop("labels")[chosen]
        with head_on_tokens(model, chosen):
            logits = model(**batch).logits[0]
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        correct += float((logits.argmax(-1) == labels).sum())
        count += len(labels)
    return {"loss": total / count, "accuracy": correct / count, "tokens": count}


def curve(folder: Path) -> list[dict[str, float]]:
    """What the training logged, without what only the loop needs."""
    kept = ("step", "loss", "loss/task", "loss/distillation", "eval_loss", "learning_rate", "sparsity/actual")
    return [
        {key: entry[key] for key in kept if key in entry}
        for entry in load_log(folder)
        if {"loss", "eval_loss"} & set(entry)
    ]


def collect(arguments: argparse.Namespace) -> dict[str, Any]:
    """The document for results/: every variant's held-out loss, sparsity, curve."""
    held_out = held_out_corpus(arguments)
    start = load_recipe(str(arguments.recipe)).model.name_or_path
    models: dict[str, Any] = {"start": {"held_out": held_out_loss(start, held_out)}}
    for name, overrides in variants().items():
        folder = train(name, overrides, arguments)
        record = read_record(folder)
        assert record is not None
        models[name] = {
            "held_out": held_out_loss(str(folder), held_out),
            "sparsity": record.results.get("sparsity", 0.0),
            "seconds": record.seconds,
            "curve": curve(folder),
        }
        logging.info("%s: held-out loss %.4f", name, models[name]["held_out"]["loss"])
    recipe, trained = recipe_for(arguments, []), ", ".join(arguments.train_files)
    corpus = read_record(arguments.work_dir / "corpus")
    assert corpus is not None
    return {
        "what": "masked language modelling of sparse pre-trained models on held-out Wikipedia articles",
        **provenance(),
        "recipe": recipe.model_dump(mode="json", exclude={"corpus": {"source"}}),
        "data": f"English Wikipedia, 2015: {trained} to train, {arguments.heldout_file} held out",
        "partial": arguments.partial,
        "seeds": [arguments.seed],
        "corpus": corpus.results,
        "models": models,
    }


def main() -> None:
    """Train what is asked for, or all of it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the JSON lines")
    parser.add_argument("--train_files", nargs="+", default=["train.jsonl.xz"], help="names in the data folder")
    parser.add_argument("--heldout_file", default="heldout.jsonl.xz", help="name in the data folder")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("pretrained_tiny.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work_dir", type=Path, default=Path("runs/pretrained_tiny"))
    parser.add_argument("--variants", nargs="+", choices=list(variants()), help="train these only, and stop")
    parser.add_argument("--partial", default="a tiny model, 10 M tokens a run; the paper's runs saw some 13,000 M")
    parser.add_argument("--output", type=Path, default=Path("results/pretrained_tiny.json"))
    arguments = parser.parse_args()
    from pruneofa.cli.output import quiet_libraries

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    if arguments.variants:
        for name in arguments.variants:
            train(name, variants()[name], arguments)
        return
    document = collect(arguments)
    write_json(arguments.output, document)
    print(json.dumps({name: model["held_out"]["loss"] for name, model in document["models"].items()}))


if __name__ == "__main__":
    main()

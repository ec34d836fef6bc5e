"""Sparse pre-trained models on Wikipedia: the dense teacher, and students with and without it, by held-out loss.

Variants: `dense` (teacher preparation), at each sparsity a student with distillation (`distilled`), and at the lowest
one that minimises the masked tokens' cross-entropy alone (`undistilled`) and one whose learning rate falls linearly
instead of being rewound (`unrewound`); all from the same dense model, on the same tokens.
Every stage is kept in the work folder, with checkpoints, so this can be broken off and called again; `--variants`
leaves the rest to another process. Held-out articles take no part in training or in any choice.

    python benchmarks/pretrained_sparse.py --data-dir DATA/wiki_en_2015 --variants dense
    python benchmarks/pretrained_sparse.py --data-dir DATA/wiki_en_2015 --output results/pretrained_tiny.json

With `--models results/models` the distilled students' compressed files are written too, for others to start from.

DATA-DIR holds `train.jsonl.xz` and `heldout.jsonl.xz`, JSON lines with `text`. `--recipe` names another model's recipe;
with its own corpus, too, where no folder is given (to train only):

    python benchmarks/pretrained_sparse.py --recipe demo --work_dir runs/pretrained_minilm --variants distilled-0.85

`--set` changes the recipe; a work folder that begins as a copy of another's `corpus` and `dense` trains what differs.
"""

import argparse
import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from provenance import provenance
from torch.utils.data import DataLoader, Subset

from pruneofa.atomic import write_json
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.writer import compress
from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.data.pretraining.corpus import load_corpus
from pruneofa.data.pretraining.masking import IGNORED_LABEL, MaskedLanguageModelDataset
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.distillation.token_selection import head_on_tokens
from pruneofa.models.loading import load_model, load_tokenizer
from pruneofa.models.saving import save_model
from pruneofa.recipe.document import Recipe
from pruneofa.recipe.files import load_recipe
from pruneofa.stage_folder import CORPUS_FOLDER, load_log
from pruneofa.workflow.execution import execute
from pruneofa.workflow.record import input_fingerprint, read_record
from pruneofa.workflow.stage_list import STAGES

SPARSITIES = (0.85, 0.9)
HELD_OUT_SEED = 0
# Of the files that are kept: a table of 30,522 rows in full precision would be nearly all of their bytes.
EMBEDDING_STEP = 2.0**-8


def variants() -> dict[str, list[str]]:
    """Overrides of the recipe for each variant; the first is the teacher of the others."""
    found: dict[str, list[str]] = {"dense": []}
    for sparsity in SPARSITIES:
        found[f"distilled-{sparsity:g}"] = [f"prune.sparsity.target_sparsity={sparsity}"]
    lowest = SPARSITIES[0]
    found[f"undistilled-{lowest:g}"] = [f"prune.sparsity.target_sparsity={lowest}", "prune.distillation=null"]
    found[f"unrewound-{lowest:g}"] = [
        f"prune.sparsity.target_sparsity={lowest}",
        "prune.training.lr_scheduler_type=linear",
    ]
    return found


def recipe_for(arguments: argparse.Namespace, overrides: list[str]) -> Recipe:
    """The recipe, on the given text if there is one."""
    text = []
    if arguments.data_dir is not None:
        sources = json.dumps([str(arguments.data_dir / name) for name in arguments.train_files])
        text = [f"corpus.source={sources}"]
    return load_recipe(str(arguments.recipe), [*text, f"seed={arguments.seed}", *arguments.set, *overrides])


def train(name: str, overrides: list[str], arguments: argparse.Namespace) -> Path:
    """Run the stages that lead to a variant, where they have not run; return its folder."""
    recipe = recipe_for(arguments, overrides)
    work = arguments.work_dir
    inputs = {"model": recipe.model.name_or_path, "corpus": str(work / "corpus"), "dense": str(work / "dense")}
    stages = {"corpus": "corpus", "teach": "dense"} | ({} if name == "dense" else {"prune": name})
    for stage, folder in stages.items():
        # What is only to be reported on must not be trained anew because a setting differs.
        execute(STAGES[stage], recipe, inputs, work / folder, replace_stale=not arguments.finished_only)
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
def held_out_loss(model_path: str, corpus: Path, examples: int | None = None) -> dict[str, float]:
    """Cross-entropy in nats and accuracy on masked tokens (15 %, the same ones for every model).

    Args:
        model_path: the model.
        corpus: folder of the held-out corpus.
        examples: how many to take, evenly from all of it; None: all.
    """
    from transformers import AutoModelForMaskedLM

    tokenizer = load_tokenizer(model_path)
    model = load_model(AutoModelForMaskedLM, model_path, head_is_trained=True).eval()
    blocks = load_corpus(corpus / CORPUS_FOLDER, tokenizer)["train"]
    dataset = MaskedLanguageModelDataset(blocks, tokenizer, HELD_OUT_SEED)
    chosen_examples = Subset(dataset, range(0, len(dataset), max(1, len(dataset) // (examples or len(dataset)))))
    total = correct = count = 0.0
    for batch in DataLoader(chosen_examples, batch_size=64, collate_fn=PaddingCollator(tokenizer.pad_token_id)):
        chosen = batch["labels"] != IGNORED_LABEL
        labels = batch.pop("labels")[chosen]
        with head_on_tokens(model, chosen):
            logits = model(**batch).logits[0]
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        correct += float((logits.argmax(-1) == labels).sum())
        count += len(labels)
    return {"loss": total / count, "accuracy": correct / count, "tokens": count}


def kept_held_out_loss(
    model_path: str, corpus: Path, examples: int | None, kept: Path, identity: str | None = None
) -> dict[str, float]:
    """As `held_out_loss`; computed once for a model (by its `identity`) and kept in the file `kept`."""
    model = identity or input_fingerprint(resolve_model(model_path))
    about = {"model": model, "corpus": input_fingerprint(str(corpus)), "examples": examples}
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["about"] == about:
            return dict(found["held_out"])
    held_out = held_out_loss(model_path, corpus, examples)
    write_json(kept, {"about": about, "held_out": held_out})
    logging.info("%s: held-out loss %.4f", Path(model_path).name, held_out["loss"])
    return held_out


def curve(folder: Path) -> list[dict[str, float]]:
    """What the training logged, without what only the loop needs."""
    kept = ("step", "loss", "loss/task", "loss/distillation", "eval_loss", "learning_rate", "sparsity/actual")
    return [
        {key: entry[key] for key in kept if key in entry}
        for entry in load_log(folder)
        if {"loss", "eval_loss"} & set(entry)
    ]


def is_finished(folder: Path) -> bool:
    """Whether a variant's training is."""
    record = read_record(folder)
    return record is not None and record.finished


def collect(arguments: argparse.Namespace) -> dict[str, Any]:
    """The document for results/: every variant's held-out loss, sparsity, curve."""
    held_out, work = held_out_corpus(arguments), arguments.work_dir
    start = load_recipe(str(arguments.recipe)).model.name_or_path
    count = arguments.heldout_examples
    of_start = kept_held_out_loss(start, held_out, count, work / "held_out-start.json")
    models: dict[str, Any] = {"start": {"held_out": of_start}}
    for name, overrides in variants().items():
        if arguments.finished_only and not is_finished(work / name):
            logging.warning("%s: its training is not finished, left out", name)
            continue
        folder = train(name, overrides, arguments)
        record = read_record(folder)
        assert record is not None
        models[name] = {
            "held_out": kept_held_out_loss(str(folder), held_out, count, work / f"held_out-{name}.json"),
            "sparsity": record.results.get("sparsity", 0.0),
            "seconds": record.seconds,
            "curve": curve(folder),
        }
        if arguments.models is not None and name.startswith("distilled"):
            file = arguments.models / f"{recipe_for(arguments, []).name}-{name}.pofa"
            facts = {"base_model": start, "recipe": arguments.recipe.stem}
            models[name]["file"] = compressed(folder, file, facts, held_out, count, work / f"held_out-{name}-file.json")
    made = provenance()  # without this machine's folders
    made["command"] = made["command"].replace(str(arguments.data_dir), f"DATA/{arguments.data_dir.name}")
    recipe, trained = recipe_for(arguments, []), ", ".join(arguments.train_files)
    corpus = read_record(arguments.work_dir / "corpus")
    assert corpus is not None
    return {
        "what": "masked language modelling of sparse pre-trained models on held-out Wikipedia articles",
        **made,
        "recipe": recipe.model_dump(mode="json", exclude={"corpus": {"source"}}),
        "data": f"English Wikipedia, 2015: {trained} to train, {arguments.heldout_file} held out",
        "partial": arguments.partial + (f"; losses on {count:,} held-out examples, evenly taken" if count else ""),
        "seeds": [arguments.seed],
        "corpus": corpus.results,
        "models": models,
    }


def write_file(folder: Path, file: Path, facts: dict[str, Any]) -> None:
    """A student's compressed file, in its smallest form, with the embeddings in steps of EMBEDDING_STEP."""
    from transformers import AutoModelForMaskedLM

    model = load_model(AutoModelForMaskedLM, str(folder), head_is_trained=True)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table.copy_((table / EMBEDDING_STEP).round() * EMBEDDING_STEP)
    with tempfile.TemporaryDirectory() as rounded:
        save_model(model, load_tokenizer(str(folder)), Path(rounded), stage="prune", extra=facts)
        compress(rounded, str(file), form="packed")


def compressed(
    folder: Path, file: Path, facts: dict[str, Any], corpus: Path, examples: int | None, kept: Path
) -> dict[str, Any]:
    """What is known of a student's compressed file, which is written where it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_file(folder, file, facts)
    content = file.read_bytes()
    with tempfile.TemporaryDirectory() as temporary:
        model_path = str(decompress(file, Path(temporary) / "model"))
        digest = hashlib.sha256(content).hexdigest()
        found = kept_held_out_loss(model_path, corpus, examples, kept, identity=digest)
    return {
        "name": file.name,
        "bytes": len(content),
        "sha256": digest,
        "embedding_step": EMBEDDING_STEP,
        "held_out": found,
    }


def main() -> None:
    """Train what is asked for, or all of it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the JSON lines (default: the recipe's own corpus)")
    parser.add_argument("--train_files", nargs="+", default=["train.jsonl.xz"], help="names in the data folder")
    parser.add_argument("--heldout_file", default="heldout.jsonl.xz", help="name in the data folder")
    parser.add_argument("--heldout_examples", type=int, help="evaluate on so many, evenly taken (default: all)")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("pretrained_tiny.yaml"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work_dir", type=Path, default=Path("runs/pretrained_tiny"))
    parser.add_argument("--variants", nargs="+", choices=list(variants()), help="train these only, and stop")
    parser.add_argument("--partial", default="a tiny model, 10 M tokens a run; the paper's runs saw some 13,000 M")
    parser.add_argument("--finished_only", action="store_true", help="leave out variants that are still in training")
    parser.add_argument("--models", type=Path, help="folder for the students' compressed files")
    parser.add_argument("--output", type=Path, default=Path("results/pretrained_tiny.json"))
    arguments = parser.parse_args()
    from pruneofa.cli.output import quiet_libraries

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    quiet_libraries()
    if arguments.variants:
        for name in arguments.variants:
            train(name, variants()[name], arguments)
        return
    if arguments.data_dir is None:
        parser.error("--data-dir is missing: results are reported on its held-out articles")
    document = collect(arguments)
    write_json(arguments.output, document)
    print(json.dumps({name: model["held_out"]["loss"] for name, model in document["models"].items()}))


if __name__ == "__main__":
    main()

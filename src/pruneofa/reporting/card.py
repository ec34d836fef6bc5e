"""The model card (README.md) of a model folder, written from measured facts only."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.tables import comparison_markdown, escape_markdown
from pruneofa.reporting.units import clean_text, format_bytes, format_percent, format_ratio

__all__ = ["CardFiles", "CardTask", "model_card"]

_PIPELINES = {
    "AutoModelForSequenceClassification": ("text-classification", "Text Classification"),
    "AutoModelForQuestionAnswering": ("question-answering", "Question Answering"),
    "AutoModelForMaskedLM": ("fill-mask", "Fill-Mask"),
    "AutoModelForTokenClassification": ("token-classification", "Token Classification"),
    "AutoModel": ("feature-extraction", "Feature Extraction"),
}
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(/[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*)?")


@dataclass(frozen=True)
class CardTask:
    """What the metrics were measured on.

    Attributes:
        name: what the reader calls it, e.g. `fresh or rotten`.
        text: more of it, e.g. `11,036 training, 1,719 evaluation examples`.
        dataset: name of the data set on the hub, where it has one.
        split: of that data set, where it is known.
    """

    name: str
    text: str = ""
    dataset: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class CardFiles:
    """Where a reader of the card finds the model, seen from the card.

    Attributes:
        folder: the model folder.
        compressed: name of the `.pofa` file, if there is one.
        onnx: name of the ONNX file, if there is one.
        auto_class: the class of transformers that loads the folder.
        int8: whether activations are quantized too, so that `from_pretrained` alone computes something finer.
    """

    folder: str = "."
    compressed: str | None = None
    onnx: str | None = None
    auto_class: str = "AutoModel"
    int8: bool = False


def model_card(
    row: ModelRow,
    *,
    base_model: str,
    files: CardFiles | None = None,
    task: CardTask | None = None,
    recipe: str | None = None,
    recipe_yaml: str | None = None,
    baseline: ModelRow | None = None,
    license_name: str | None = None,
    language: str | None = None,
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of README.md, with the front matter that the Hugging Face hub reads.

    Args:
        row: the model as measured.
        base_model: name of the dense model that it was made from; it goes into the front matter where it can be a
            name on the hub.
        files: where the model is; by default the card's own folder is a model folder.
        task: what the metrics were measured on.
        recipe: name of the recipe that made it.
        recipe_yaml: that recipe's text; of local paths only the last part is kept.
        baseline: the dense model as measured, for the comparison.
        license_name: the hub's identifier of a licence, e.g. `apache-2.0`; left out if not given.
        language: the hub's code of the language, e.g. `en`; left out if not given.
        facts: further measured facts, label and text.
    """
    files = files or CardFiles()
    name = escape_markdown(row.name) or "Model"
    kept = format_percent(row.encoder_sparsity)
    sections = [
        _front_matter(row, base_model, files, task, license_name, language),
        f"# {name}\n",
        f"Made from {escape_markdown(_without_folders(base_model))} with pruneofa, after "
        f"[Prune Once for All](https://arxiv.org/abs/2111.05754): {kept} % of the encoder's weights are zero.\n",
        "## Measured\n",
        comparison_markdown([row] if baseline is None else [baseline, row]),
        _facts(row, task, recipe, facts),
        "## Use\n",
        _usage(files),
    ]
    if recipe_yaml:
        sections += ["## Recipe\n", _recipe(recipe_yaml)]
    return "\n".join(sections)


def _front_matter(
    row: ModelRow,
    base_model: str,
    files: CardFiles,
    task: CardTask | None,
    license_name: str | None,
    language: str | None,
) -> str:
    fields: dict[str, object] = {}
    if language:
        fields["language"] = language
    if license_name:
        fields["license"] = license_name
    if _HUB_NAME.fullmatch(base_model):
        fields["base_model"] = base_model
        fields["base_model_relation"] = "quantized" if files.int8 else "finetune"
    fields["library_name"] = "transformers"
    if files.auto_class in _PIPELINES:
        fields["pipeline_tag"] = _PIPELINES[files.auto_class][0]
    tags = ["pruneofa", "prune-once-for-all", "sparse"]
    fields["tags"] = [*tags, *(["int8"] if files.int8 else []), *(["onnx"] if files.onnx else [])]
    if task is not None and task.dataset:
        fields["datasets"] = [task.dataset]
    if task is not None and row.metrics and files.auto_class in _PIPELINES:
        fields["model-index"] = [_model_index(row, task, files.auto_class)]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def _model_index(row: ModelRow, task: CardTask, auto_class: str) -> dict[str, object]:
    """The metrics in the form that the hub shows and compares."""
    kind, title = _PIPELINES[auto_class]
    name = clean_text(task.name) or "task"
    dataset: dict[str, object] = {"name": name, "type": task.dataset or re.sub(r"[^a-z0-9]+", "-", name.lower())}
    if task.split:
        dataset["split"] = task.split
    metrics = [
        {"type": clean_text(key.removeprefix("eval_")), "value": float(value)} for key, value in row.metrics.items()
    ]
    result = {"task": {"type": kind, "name": title}, "dataset": dataset, "metrics": metrics}
    return {"name": clean_text(row.name) or "model", "results": [result]}


def _facts(row: ModelRow, task: CardTask | None, recipe: str | None, facts: Sequence[tuple[str, str]]) -> str:
    density = 1 - row.encoder_sparsity
    pairs = [
        ("Encoder", f"{row.encoder_parameters:,} weights of Linear layers (pooler left out), {density:.2%} not zero"),
        ("Bytes of the encoder", f"{row.bytes_encoder:,} ({format_bytes(row.bytes_encoder)})"),
        ("Bytes of the model", f"{row.bytes_total:,} ({format_bytes(row.bytes_total)})"),
    ]
    if row.nominal_ratio is not None:
        pairs.append(("Ratio, nominal", f"{format_ratio(row.nominal_ratio)} (values alone)"))
    if row.real_ratio is not None:
        pairs.append(("Ratio, real", f"{format_ratio(row.real_ratio)} (bytes on disk)"))
    if row.file:
        pairs.append(("Bytes and ratios are those of", row.file))
    if task is not None:
        pairs.append(("Task", f"{task.name}: {task.text}" if task.text else task.name))
        if task.dataset:
            pairs.append(("Data set", task.dataset + (f", split {task.split}" if task.split else "")))
    if recipe:
        pairs.append(("Recipe", recipe))
    if row.note:
        pairs.append(("Note", row.note))
    pairs += list(facts)
    return "".join(f"- {escape_markdown(label)}: {escape_markdown(text)}\n" for label, text in pairs)


def _usage(files: CardFiles) -> str:
    where = "this folder" if files.folder == "." else "beside this file"
    text = (
        "The folder loads as any model of transformers does; the zeros are in the weights.\n\n"
        "```python\n"
        f"from transformers import {files.auto_class}, AutoTokenizer\n\n"
        f"folder = {clean_text(files.folder)!r}  # {where}\n"
        f"model = {files.auto_class}.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n"
    )
    if files.int8:
        text += (
            "\nSo it computes with the int8 weights but without the rounding of activations; the metrics above are "
            "with it, as `pruneofa evaluate`, `pruneofa.load_compressed` and the ONNX file compute.\n"
        )
    folder = shlex.quote(clean_text(files.folder))
    if files.compressed:
        name = clean_text(files.compressed)
        quoted = shlex.quote(name)
        text += (
            "\nThe compressed file unpacks to such a folder, bit for bit:\n\n"
            f"```sh\npruneofa inspect {quoted}\npruneofa decompress {quoted} model\n```\n\n"
            "or loads as it is:\n\n"
            f"```python\nimport pruneofa\n\nmodel = pruneofa.load_compressed({name!r})\n```\n"
        )
    else:
        text += f"\nOne small file of it:\n\n```sh\npruneofa compress {folder} model.pofa --form packed\n```\n"
    if files.onnx:
        name = clean_text(files.onnx)
        text += (
            "\nThe ONNX file runs in ONNX Runtime:\n\n"
            "```python\n"
            "import onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({name!r})\n"
            'inputs = tokenizer(["some text"], return_tensors="np")\n'
            "outputs = session.run(None, {value.name: inputs[value.name] for value in session.get_inputs()})\n"
            "```\n"
        )
    else:
        text += (
            f"\nONNX, with int8 weights where the model has them:\n\n```sh\npruneofa export {folder} model.onnx\n```\n"
        )
    return text


def _recipe(recipe_yaml: str) -> str:
    """The recipe's YAML in a block that shows it as it is, but for folders of the machine that it ran on."""
    text = _without_folders(recipe_yaml)
    lines = [clean_line for line in text.splitlines() if (clean_line := _clean_line(line)).strip()]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}yaml\n" + "".join(f"{line}\n" for line in lines) + f"{fence}\n"


def _without_folders(text: str) -> str:
    """`text` with each absolute path cut to its last part."""
    return re.sub(r"(?<![\w:/.~-])~?/(?:[^\s/\"',\]}]+/)*([^\s/\"',\]}]+)", r"\1", text)


def _clean_line(line: str) -> str:
    """A line without what could drive a terminal; its indentation is kept."""
    return " " * (len(line) - len(line.lstrip(" "))) + clean_text(line)

"""The model card (README.md) of a model folder, written from measured facts only."""

import shlex
from collections.abc import Sequence

import yaml

from pruneofa.reporting.data import ModelRow
from pruneofa.reporting.tables import comparison_markdown, escape_markdown
from pruneofa.reporting.units import clean_text, format_bytes, format_percent, format_ratio

_PIPELINE_TAGS = {
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForTokenClassification": "token-classification",
}


def model_card(
    row: ModelRow,
    *,
    base_model: str,
    auto_class: str = "AutoModel",
    task: str | None = None,
    recipe: str | None = None,
    baseline: ModelRow | None = None,
    compressed_file: str | None = None,
    license_name: str | None = None,
    language: str | None = None,
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of README.md, with the front matter that the Hugging Face hub reads.

    Args:
        row: the model as measured.
        base_model: name of the dense model that it was made from.
        auto_class: the class of transformers that loads the folder.
        task: what the metrics were measured on, e.g. `fresh or rotten, 1,912 reviews of unseen films`.
        recipe: name of the recipe that made it.
        baseline: the dense model as measured, for the comparison.
        compressed_file: name of the `.pofa` file in or beside the folder, if there is one.
        license_name: the hub's identifier of a licence, e.g. `apache-2.0`; left out if not given.
        language: the hub's code of the language, e.g. `en`; left out if not given.
        facts: further measured facts, label and text.
    """
    name = escape_markdown(row.name) or "Model"
    kept = format_percent(row.encoder_sparsity)
    sections = [
        _front_matter(base_model, auto_class, license_name, language),
        f"# {name}\n",
        f"Made from {escape_markdown(base_model)} with pruneofa, after "
        f"[Prune Once for All](https://arxiv.org/abs/2111.05754): {kept} % of the encoder's weights are zero.\n",
        "## Measured\n",
        comparison_markdown([row] if baseline is None else [baseline, row]),
        _facts(row, task, recipe, facts),
        "## Use\n",
        _usage(auto_class, compressed_file),
    ]
    return "\n".join(sections)


def _front_matter(base_model: str, auto_class: str, license_name: str | None, language: str | None) -> str:
    fields: dict[str, object] = {}
    if language:
        fields["language"] = language
    if license_name:
        fields["license"] = license_name
    fields["base_model"] = clean_text(base_model)
    fields["library_name"] = "transformers"
    if auto_class in _PIPELINE_TAGS:
        fields["pipeline_tag"] = _PIPELINE_TAGS[auto_class]
    fields["tags"] = ["pruneofa", "prune-once-for-all", "sparse"]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def _facts(row: ModelRow, task: str | None, recipe: str | None, facts: Sequence[tuple[str, str]]) -> str:
    density = 1 - row.encoder_sparsity
    pairs = [
        ("Encoder", f"{row.encoder_parameters:,} weights of Linear layers (pooler left out), {density:.2%} not zero"),
        ("Bytes of the encoder", f"{row.bytes_encoder:,} ({format_bytes(row.bytes_encoder)})"),
        ("Bytes of the model", f"{row.bytes_total:,} ({format_bytes(row.bytes_total)})"),
        ("Ratio, nominal", f"{format_ratio(row.nominal_ratio)} (values alone)"),
        ("Ratio, real", f"{format_ratio(row.real_ratio)} (bytes on disk)"),
    ]
    if row.nominal_ratio is None:
        del pairs[3]
    if row.real_ratio is None:
        del pairs[-1]
    if task:
        pairs.append(("Task", task))
    if recipe:
        pairs.append(("Recipe", recipe))
    if row.note:
        pairs.append(("Note", row.note))
    pairs += list(facts)
    return "".join(f"- {escape_markdown(label)}: {escape_markdown(text)}\n" for label, text in pairs)


def _usage(auto_class: str, compressed_file: str | None) -> str:
    text = (
        "The folder loads as any model of transformers does; the zeros are in the weights.\n\n"
        "```python\n"
        f"from transformers import {auto_class}, AutoTokenizer\n\n"
        'folder = "."  # this folder\n'
        f"model = {auto_class}.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n"
    )
    if compressed_file:
        name = clean_text(compressed_file)
        quoted = shlex.quote(name)
        text += (
            "\nThe compressed file unpacks to such a folder, bit for bit:\n\n"
            f"```sh\npruneofa inspect {quoted}\npruneofa decompress {quoted} model\n```\n"
        )
    return text

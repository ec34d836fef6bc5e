import dataclasses
import re

import yaml

from pruneofa.reporting.card import model_card
from pruneofa.reporting.data import ReportData


def _split(card: str) -> tuple[dict[str, object], str]:
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert isinstance(fields, dict)
    return fields, body


def test_card_states_what_was_measured(report: ReportData) -> None:
    card = model_card(
        report.rows[2],
        base_model="org/mini",
        auto_class="AutoModelForSequenceClassification",
        task="1,912 reviews",
        recipe="demo",
        baseline=report.rows[0],
        compressed_file="model.pofa",
        license_name="apache-2.0",
        language="en",
        facts=[("Seed", "42")],
    )
    fields, body = _split(card)
    assert fields == {
        "language": "en",
        "license": "apache-2.0",
        "base_model": "org/mini",
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["pruneofa", "prune-once-for-all", "sparse"],
    }
    for line in (
        "# sparse int8\n",
        "85.00 % of the encoder's weights are zero.",
        "- Bytes of the encoder: 3,121,000 (3.1 MB)\n",
        "- Ratio, nominal: 26.7x (values alone)\n",
        "- Ratio, real: 13.6x (bytes on disk)\n",
        "- Task: 1,912 reviews\n",
        "- Recipe: demo\n",
        "- Seed: 42\n",
        "model = AutoModelForSequenceClassification.from_pretrained(folder)\n",
        "pruneofa decompress model.pofa model\n",
    ):
        assert line in body
    assert "| dense " in body


def test_card_leaves_out_what_is_not_known(report: ReportData) -> None:
    row = dataclasses.replace(report.rows[1], nominal_ratio=None, real_ratio=None, note="", metrics={})
    fields, body = _split(model_card(row, base_model="bert-base-uncased"))
    assert "license" not in fields
    assert "language" not in fields
    assert "pipeline_tag" not in fields
    for word in ("Ratio", "Task", "Recipe", "Note", ".pofa", "None", "accuracy"):
        assert word not in body


def test_python_of_the_card_compiles(report: ReportData) -> None:
    body = model_card(report.rows[1], base_model="b")
    compile(body.split("```python\n")[1].split("```")[0], "card", "exec")


def test_hostile_strings_stay_in_their_place(report: ReportData) -> None:
    name = "a\n---\nlicense: mit\n<script>|x"
    row = dataclasses.replace(report.rows[1], name=name, note=name)
    card = model_card(row, base_model="b: [\n---\n", compressed_file="my 'model'; rm x.pofa", recipe=name)
    fields, body = _split(card)
    assert fields["base_model"] == "b: [ ---"
    assert "license" not in fields
    assert not re.search(r"(?<!\\)<script", body)
    assert "pruneofa inspect 'my '\"'\"'model'\"'\"'; rm x.pofa'\n" in body

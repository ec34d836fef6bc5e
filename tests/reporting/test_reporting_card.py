import dataclasses
import re

import yaml
from huggingface_hub import ModelCard

from pruneofa.reporting.card import CardFiles, CardTask, model_card
from pruneofa.reporting.data import ReportData

CLASSIFIER = CardFiles(auto_class="AutoModelForSequenceClassification")


def _split(card: str) -> tuple[dict[str, object], str]:
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert isinstance(fields, dict)
    return fields, body


def test_card_states_what_was_measured(report: ReportData) -> None:
    card = model_card(
        report.rows[2],
        base_model="org/mini",
        files=CardFiles(
            folder="quantize",
            compressed="model.pofa",
            onnx="model.onnx",
            auto_class="AutoModelForSequenceClassification",
            int8=True,
        ),
        task=CardTask("reviews", "1,912 reviews", "org/films", "test"),
        recipe="demo, seed 0",
        recipe_yaml=report.recipe_yaml,
        baseline=report.rows[0],
        license_name="apache-2.0",
        language="en",
        facts=[("Seed", "42")],
    )
    fields, body = _split(card)
    metrics = [{"type": "accuracy", "value": 0.7994}]
    assert fields == {
        "language": "en",
        "license": "apache-2.0",
        "base_model": "org/mini",
        "base_model_relation": "quantized",
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["pruneofa", "prune-once-for-all", "sparse", "int8", "onnx"],
        "datasets": ["org/films"],
        "model-index": [
            {
                "name": "sparse int8",
                "results": [
                    {
                        "task": {"type": "text-classification", "name": "Text Classification"},
                        "dataset": {"name": "reviews", "type": "org/films", "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    for line in (
        "# sparse int8\n",
        "85.00 % of the encoder's weights are zero.",
        "- Bytes of the encoder: 3,121,000 (3.1 MB)\n",
        "- Ratio, nominal: 26.7x (values alone)\n",
        "- Ratio, real: 13.6x (bytes on disk)\n",
        "- Bytes and ratios are those of: model.pofa\n",
        "- Task: reviews: 1,912 reviews\n",
        "- Data set: org/films, split test\n",
        "- Recipe: demo, seed 0\n",
        "- Seed: 42\n",
        "folder = 'quantize'  # beside this file\n",
        "model = AutoModelForSequenceClassification.from_pretrained(folder)\n",
        "without the rounding of activations; the metrics above are with it",
        "pruneofa decompress model.pofa model\n",
        "model = pruneofa.load_compressed('model.pofa')\n",
        "session = onnxruntime.InferenceSession('model.onnx')\n",
        "```yaml\n# pruneofa run demo\nmodel_name_or_path: minilm\nsparsity:\n  target_sparsity: 0.85\n```\n",
    ):
        assert line in body
    assert "| dense " in body


def test_the_hub_reads_the_card(report: ReportData) -> None:
    """huggingface_hub's own parser finds the metadata and the results."""
    card = ModelCard(
        model_card(report.rows[2], base_model="org/mini", files=CLASSIFIER, task=CardTask("fresh or rotten"))
    )
    assert card.data.base_model == "org/mini"
    assert card.data.base_model_relation == "finetune"
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_name) == (
        "text-classification",
        "fresh-or-rotten",
        "fresh or rotten",
    )
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.7994)


def test_card_leaves_out_what_is_not_known(report: ReportData) -> None:
    row = dataclasses.replace(report.rows[1], nominal_ratio=None, real_ratio=None, note="", metrics={}, file="")
    fields, body = _split(model_card(row, base_model="bert-base-uncased", files=CLASSIFIER, task=CardTask("x")))
    for field in ("license", "language", "model-index", "datasets"):
        assert field not in fields
    for word in ("Ratio", "Recipe", "Note", "decompress", "onnxruntime", "None", "accuracy", "Bytes and ratios"):
        assert word not in body
    assert "pruneofa compress . model.pofa --form packed\n" in body
    assert "pruneofa export . model.onnx\n" in body


def test_a_base_model_that_is_no_hub_name_stays_out_of_the_front_matter(report: ReportData) -> None:
    for name in ("package:module/model", "/home/me/dense", "./dense", "a/b/c", "../x", "a model"):
        fields, body = _split(model_card(report.rows[1], base_model=name))
        assert "base_model" not in fields
        assert "/home/me" not in body
    for name in ("bert-base-uncased", "sentence-transformers/all-MiniLM-L6-v2", "org/x_y.z"):
        assert _split(model_card(report.rows[1], base_model=name))[0]["base_model"] == name


def test_folders_of_the_machine_do_not_go_into_the_card(report: ReportData) -> None:
    recipe = (
        "name: mine\nmodel:\n  name_or_path: /home/me/secret/dense\ntask:\n"
        "  train: ['/data/x/train.csv', ~/y/more.csv]\n"
        "  evaluation: hub:org/films:test  # 1/2 of it\n  ratio: 0.5\n"
    )
    body = model_card(report.rows[1], base_model="b", recipe_yaml=recipe)
    shown = body.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(shown) == {
        "name": "mine",
        "model": {"name_or_path": "dense"},
        "task": {"train": ["train.csv", "more.csv"], "evaluation": "hub:org/films:test", "ratio": 0.5},
    }
    assert "1/2 of it" in shown


def test_python_of_the_card_compiles(report: ReportData) -> None:
    body = model_card(report.rows[1], base_model="b", files=CardFiles(compressed="a 'b'.pofa", onnx="c.onnx"))
    blocks = [block.split("```")[0] for block in body.split("```python\n")[1:]]
    assert len(blocks) == 3
    for block in blocks:
        compile(block, "card", "exec")


def test_hostile_strings_stay_in_their_place(report: ReportData) -> None:
    name = "a\n---\nlicense: mit\n<script>|x"
    row = dataclasses.replace(report.rows[1], name=name, note=name)
    card = model_card(
        row,
        base_model="b: [\n---\n",
        files=CardFiles(compressed="my 'model'; rm x.pofa"),
        task=CardTask(name),
        recipe=name,
        recipe_yaml="x: |\n  ```\n  <script>\n  ```\n\x1b[31m---\n",
    )
    fields, body = _split(card)
    assert "license" not in fields
    assert "base_model" not in fields
    outside = body.split("````yaml\n")[0]
    assert not re.search(r"(?<!\\)<script", outside)
    assert "pruneofa inspect 'my '\"'\"'model'\"'\"'; rm x.pofa'\n" in body
    assert "\x1b" not in card
    assert card.rstrip().endswith("````")

"""Small models with heads, on the tokenizer of the small world."""

import shutil

import pytest


@pytest.fixture(scope="session")
def task_models(small_world, tmp_path_factory):
    """Task -> folder of a random model."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("task_models")
    state = torch.get_rng_state()
    torch.manual_seed(1)
    found = {}
    kinds = {
        "classify": ("BertForSequenceClassification", {"id2label": {0: "down", 1: "flat", 2: "up"}}),
        "regress": ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
        "answer": ("BertForQuestionAnswering", {}),
        "label_tokens": ("BertForTokenClassification", {"id2label": {0: "O", 1: "B-X", 2: "I-X"}}),
        "embed": ("BertModel", {}),
    }
    for task, (name, settings) in kinds.items():
        config = transformers.AutoConfig.from_pretrained(small_world.model, **settings)
        path = folder / task
        shutil.copytree(small_world.model, path, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        getattr(transformers, name)(config).eval().save_pretrained(path)
        found[task] = path
    torch.set_rng_state(state)
    return found

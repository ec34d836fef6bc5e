"""Several sequences in a row: nothing that one holds may reach another, and each gets what it gets alone."""

import copy
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import VOCABULARY, Blocks, bert
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
)

from pruneofa.architectures.positions import position_offset
from pruneofa.data.batches.batching import PaddingCollator
from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.distillation.inputs import model_inputs
from pruneofa.errors import ConfigurationError
from pruneofa.training.objectives import MaskedLanguageModeling
from pruneofa.training.packed import ATTENTION, check_packing, packing

LENGTHS = (9, 4, 9, 6, 1, 4)
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
FAMILIES: dict[str, Any] = {
    "bert": BertConfig(**SIZES),
    "distilbert": DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=24
    ),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "mpnet": MPNetConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
}


def built(family: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(copy.deepcopy(FAMILIES[family])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5.0)  # so that attention is far from uniform
    return model


def examples(seed: int = 3) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number, length in enumerate(LENGTHS):
        # The first token names the sequence.
        ids = [5 + number, *torch.randint(20, VOCABULARY, (length - 1,), generator=generator).tolist()]
        made.append({"input_ids": ids, "labels": ids})
    return made


def packed_logits(model: Any, made: list[dict[str, list[int]]]) -> dict[int, Tensor]:
    """Logits `[length, vocabulary]` of each sequence, by its number, from one packed pass."""
    with packing([model], 0, max(LENGTHS)) as collator, torch.no_grad():
        batch = collator(made)
        logits = model(**model_inputs(batch)).logits.flatten(0, 1)
    ids = batch["input_ids"].flatten()
    return {
        int(ids[start]) - 5: logits[start : start + LENGTHS[int(ids[start]) - 5]]
        for start in batch["sequence_starts"].tolist()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_each_sequence_alone(family: str) -> None:
    model, made = built(family), examples()
    found = packed_logits(model, made)
    assert sorted(found) == list(range(len(LENGTHS)))
    for number, one in enumerate(made):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([one["input_ids"]])).logits[0]
        assert torch.allclose(found[number], alone, rtol=1e-4, atol=1e-4), number
        assert float(alone.std()) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_sees_another_sequence(family: str) -> None:
    model, made = built(family), examples()
    before = packed_logits(model, made)
    for changed, length in enumerate(LENGTHS):
        if length == 1:
            continue
        other = copy.deepcopy(made)
        other[changed]["input_ids"][1:] = [token - 10 for token in other[changed]["input_ids"][1:]]
        after = packed_logits(model, other)
        for number in range(len(LENGTHS)):
            assert torch.equal(after[number], before[number]) is (number != changed)


@pytest.mark.parametrize(("family", "offset"), [("bert", 0), ("distilbert", 0), ("mpnet", 2), ("roberta", 2)])
def test_first_position_of_a_family(family: str, offset: int) -> None:
    assert position_offset(built(family)) == offset


@pytest.mark.parametrize("tokens", ["masked", "all"])
@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_loss_and_gradients_are_those_of_a_padded_batch(family: str, tokens: str) -> None:
    student, teacher = built(family), built(family, 1)
    pad = student.config.pad_token_id
    config = DistillationConfig(tokens=tokens, hidden_loss="mse")
    objective = MaskedLanguageModeling(Distiller(teacher, config, student=student))
    made = [Blocks()[(0, index)] for index in range(6)]
    results = []
    for packed in (False, True):
        with ExitStack() as stack:
            collator: Any = PaddingCollator(pad)
            if packed:
                collator = stack.enter_context(packing([student, teacher], pad, 14))
            student.train()
            for module in student.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
            student.zero_grad()
            loss, _, parts = objective(student, collator(made))
            loss.backward()
        gradients = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
        results.append((float(loss.detach()), {name: float(part) for name, part in parts.items()}, gradients))
    (loss, parts, wanted), (other, other_parts, found) = results
    assert other == pytest.approx(loss, rel=1e-5)
    assert other_parts == pytest.approx(parts, rel=1e-4)
    scale = max(float(value.abs().max()) for value in wanted.values())
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-5 * scale), name


def test_next_sentences_are_told_for_each_sequence() -> None:
    model = bert(BertForPreTraining, 4).eval()
    made = [one | {"next_sentence_label": index % 2} for index, one in enumerate(examples())]
    alone = [model(input_ids=torch.tensor([one["input_ids"]])).seq_relationship_logits[0] for one in made]
    with packing([model], 0, max(LENGTHS)) as collator:
        batch = collator(made)
        loss, output, parts = MaskedLanguageModeling()(model, batch)
    numbers = [int(batch["input_ids"].flatten()[start]) - 5 for start in batch["sequence_starts"].tolist()]
    assert numbers != sorted(numbers)  # the order is another one than that of the examples
    wanted = torch.stack([alone[number] for number in numbers])
    assert torch.allclose(output.seq_relationship_logits, wanted, atol=1e-5)
    own = torch.nn.functional.cross_entropy(wanted, torch.tensor([number % 2 for number in numbers]))
    assert float(parts["loss/next_sentence"]) == pytest.approx(float(own.detach()), rel=1e-5)
    assert float(loss.detach()) > float(own.detach())


def test_models_are_left_as_they_were() -> None:
    model = bert(BertForMaskedLM, 1)
    before = model.config.to_dict(), model.config._attn_implementation
    with packing([model], 0, 9):
        assert model.config._attn_implementation == ATTENTION
        assert model.config.to_dict() == before[0]  # what is saved says nothing of it
        padded = PaddingCollator(0)([{"input_ids": [5, 6, 7]}, {"input_ids": [8]}])
        inside = model.eval()(**padded).logits
    assert model.config._attn_implementation == before[1]
    assert torch.equal(inside, model(**padded).logits)


def test_what_does_not_go_with_packing_is_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match="student and teacher count positions from 0 and 2"),
        packing([built("bert"), built("roberta")], 0, 9),
    ):
        pass
    check_packing("prune", takes_packed=True, distillation=DistillationConfig(hidden_loss="cosine"))
    with pytest.raises(ConfigurationError, match=r"prune\.training\.batching is 'packed', but attention_loss is 'mse'"):
        check_packing("prune", takes_packed=True, distillation=DistillationConfig(attention_loss="mse"))
    with pytest.raises(
        ConfigurationError, match=r"transfer\.training\.batching is 'packed', which is for pre-training"
    ):
        check_packing("transfer", takes_packed=False, distillation=None)

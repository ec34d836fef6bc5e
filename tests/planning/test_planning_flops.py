"""Operations by formula, against what torch counts when the real objective runs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_plans import ARCHITECTURES, small_config, small_recipe
from torch.utils.flop_counter import FlopCounterMode

from pruneofa.distillation.config import DistillationConfig
from pruneofa.distillation.distiller import Distiller
from pruneofa.planning.flops import forward_flops, stage_flops
from pruneofa.planning.load import Lengths, StageLoad, loads
from pruneofa.planning.sizes import build_model
from pruneofa.training.objectives import MaskedLanguageModeling

# Rows of the vocabulary's product are a multiple of 64, so these are, and nothing is computed for padding.
COUNT, LENGTH, MASKED = 16, 16, 4


def load_of(stage: str, config: Any, **sections: Any) -> StageLoad:
    work, left_out = loads(small_recipe(**sections), config)
    assert not left_out
    return next(load for load in work if load.stage == stage)


def batch(pairs: bool) -> dict[str, torch.Tensor]:
    """Full sequences of which exactly MASKED tokens each are to be predicted."""
    ids = torch.randint(5, 120, (COUNT, LENGTH))
    labels = torch.full_like(ids, -100)
    labels[:, :MASKED] = ids[:, :MASKED]
    made = {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}
    return made | ({"next_sentence_label": torch.zeros(COUNT, dtype=torch.long)} if pairs else {})


def addmm_in_place(_total: Any, left: Any, right: Any, **_: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


def counted(model: Any, objective: MaskedLanguageModeling, inputs: dict[str, torch.Tensor]) -> int:
    # What a head is able to do is tried on two tokens, once; not part of a step.
    objective(model.train(), inputs)[0].backward()
    model.zero_grad()
    # Gradients of the vocabulary's product are added up in place, which torch's table of formulas does not know.
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm_in_place})
    with counter:
        objective(model, inputs)[0].backward()
    return counter.get_total_flops()


def one_step(load: StageLoad, predicted: float) -> StageLoad:
    return replace(load, steps=1, sequences=COUNT, lengths=Lengths.full(LENGTH), predicted=predicted)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_step_of_teacher_preparation(name: str) -> None:
    config = small_config(name)
    flops = stage_flops(one_step(load_of("teach", config), MASKED / LENGTH))
    found = counted(build_model(config, "masked_lm"), MaskedLanguageModeling(), batch(pairs=False))
    assert flops.total == found
    assert flops.teacher == flops.recomputed == 0


@pytest.mark.parametrize(("tokens", "share"), [("masked", MASKED / LENGTH), ("all", 1.0)])
def test_step_of_pruning_with_its_teacher(tokens: str, share: float) -> None:
    config = small_config()
    load = one_step(load_of("prune", config), share)
    student, teacher = build_model(config, "masked_lm"), build_model(config, "masked_lm")
    distiller = Distiller(teacher, DistillationConfig(tokens=tokens), student=student)  # type: ignore[arg-type]
    assert stage_flops(load).total == counted(student, MaskedLanguageModeling(distiller), batch(pairs=False))


def test_step_on_segment_pairs() -> None:
    config = small_config()
    corpus = {"source": "none", "max_length": LENGTH, "form": "pairs"}
    load = one_step(load_of("teach", config, corpus=corpus), MASKED / LENGTH)
    assert load.student.name == "BertForPreTraining"
    found = counted(build_model(config, "pairs"), MaskedLanguageModeling(), batch(pairs=True))
    assert stage_flops(load).total == found


@pytest.mark.parametrize("head", ["classification", "question_answering"])
def test_forward_pass_of_a_task(head: Any) -> None:
    from pruneofa.planning.sizes import model_sizes

    config = small_config()
    load = one_step(load_of("teach", config), 0.0)
    model = build_model(config, head).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.randint(5, 120, (COUNT, LENGTH)))
    assert sum(forward_flops(model_sizes(config, head), load, COUNT)) == counter.get_total_flops()


def test_recomputed_activations_cost_another_forward_pass_of_the_layers() -> None:
    config = small_config()
    load = one_step(load_of("teach", config), 0.25)
    checkpointing = replace(load, training=load.training.model_copy(update={"gradient_checkpointing": True}))
    usual, recomputing = stage_flops(load), stage_flops(checkpointing)
    assert recomputing.recomputed == (usual.encoder + usual.attention) / 3
    model = build_model(config, "masked_lm")
    model.gradient_checkpointing_enable()
    found = counted(model, MaskedLanguageModeling(), batch(pairs=False))
    assert recomputing.total == pytest.approx(found, rel=0.02)


def test_stage_is_its_steps() -> None:
    load = load_of("prune", small_config())
    assert stage_flops(load).total == pytest.approx(40 * stage_flops(replace(load, steps=1)).total)
    assert load.tokens == 40 * 8 * 16

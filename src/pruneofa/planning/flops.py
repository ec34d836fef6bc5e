"""Operations of a stage, by formula. Zeros are multiplied like any other number while a model is trained.

Forward pass of one step, with T tokens, n sequences, a share p of tokens predicted, and the counts of `ModelSizes`
(a multiply-add is two operations):

    encoder    2 * per_token * T
    attention  2 * per_pair * n * mean of squared lengths        (every token sees every token of its sequence)
    head       2 * (per_prediction * p * T + per_sequence * n)

The backward pass takes twice as many, of the student alone; recomputed activations take the encoder and attention once
more. Not counted: norms, activations, softmax, the optimizer and selections of masks (together some per cent),
evaluation, and what is padding.
"""

from dataclasses import dataclass

from pruneofa.planning.load import StageLoad
from pruneofa.planning.sizes import ModelSizes


@dataclass(frozen=True)
class StageFlops:
    """Operations of a whole stage.

    Attributes:
        encoder: the student's Linear layers for each token, forward and backward.
        attention: its attention's own products.
        head: its heads and pooler.
        recomputed: what activation checkpointing computes again.
        teacher: the teacher's forward passes.
    """

    encoder: float
    attention: float
    head: float
    recomputed: float
    teacher: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.encoder + self.attention + self.head + self.recomputed + self.teacher


def forward_flops(sizes: ModelSizes, load: StageLoad, sequences: float) -> tuple[float, float, float]:
    """Encoder, attention and head of a forward pass over some sequences of the stage."""
    tokens = sequences * load.lengths.mean
    return (
        2.0 * sizes.per_token * tokens,
        2.0 * sizes.per_pair() * sequences * load.lengths.mean_square,
        2.0 * (sizes.per_prediction * load.predicted * tokens + sizes.per_sequence * sequences),
    )


def stage_flops(load: StageLoad) -> StageFlops:
    """Operations of a whole stage, over all devices."""
    sequences = float(load.steps * load.sequences)
    encoder, attention, head = forward_flops(load.student, load, sequences)
    taught = 0.0
    if load.teacher is not None:
        taught = sum(forward_flops(load.teacher, load, float(load.taught_once or sequences)))
    again = encoder + attention if load.training.gradient_checkpointing else 0.0
    return StageFlops(3.0 * encoder, 3.0 * attention, 3.0 * head, again, taught)

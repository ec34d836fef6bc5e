"""Memory of one device while a step runs, how large a batch fits, and bytes of checkpoints; all by formula.

Bytes, with P parameters, h the hidden width, i that of the feed-forward part, and L layers:

    weights            4 P, and 2 for each weight of a Linear layer where products are in bfloat16 (autocast's copies)
    gradients          4 P, twice with DDP (its buckets)
    optimizer          8 P (AdamW's two moments)
    masks              1 for each pruned weight
    values under them  4 for each pruned weight, until the masks are frozen
    teacher            4 P', and its copies
    activations        for each token and layer 4 (8 h + 2 i) in float32, 24 h + 4 i in bfloat16: inputs of products,
                       norms and the activation function. With dropout 2 h more for its masks on a GPU, 8 h on a CPU,
                       where dropout of attention also keeps its scores three times, 12 for each head and token seen
    logits             of a chunk of 64 MiB three copies, with a teacher five; and the gradient of the vocabulary's
                       product

With FSDP weights, gradients, optimizer, masks and the values under them are divided by the number of devices. Not
counted: what the framework itself holds (some hundred MB on a GPU), fragmentation, temporary results of kernels.

One checkpoint: the weights in float32 (4 bytes for each parameter), AdamW's two moments (8), one bit for each pruned
weight and, until the masks are frozen, the value under each that is pruned now (4); and some small files, of which the
log grows with the run.
"""

from dataclasses import dataclass, replace

from pruneofa.distillation.vocabulary import CHUNK_BYTES
from pruneofa.planning.load import StageLoad
from pruneofa.planning.sizes import ModelSizes
from pruneofa.sparsity.schedule import sparsity_at

_USABLE = 0.9  # of a device's memory, the rest for what is not counted
_SMALL_FILES = 40_000  # settings, random numbers, the schedule's state, the manifest
_LOG_LINE = 450


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: int
    gradients: int
    optimizer: int
    masks: int
    hidden_values: int
    teacher: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.masks
            + self.hidden_values
            + self.teacher
            + self.activations
            + self.logits
        )


def step_memory(load: StageLoad, *, devices: int, bfloat16: bool, on_cpu: bool = False) -> Memory:
    """Memory of one device in a step of `load.batch` sequences of the longest kind."""
    student = load.student
    shards = devices if load.training.fsdp else 1
    copies = 1 if shards > 1 or devices == 1 else 2
    tokens = load.batch * load.lengths.longest
    keeps = load.sparsity is not None or load.locked
    logits, predicted = 0, int(load.predicted * tokens)
    if student.vocabulary and predicted:
        chunk = min(CHUNK_BYTES, 4 * predicted * student.vocabulary)
        # The head's hidden states: input, transform, activation and norm.
        copies_of_chunk = 3 if load.teacher is None else 5
        logits = copies_of_chunk * chunk + 4 * student.vocabulary * student.hidden + 20 * predicted * student.hidden
    return Memory(
        weights=_weights(student, bfloat16, shards),
        gradients=4 * student.parameters * copies // shards,
        optimizer=8 * student.parameters // shards,
        masks=student.prunable // shards if keeps else 0,
        hidden_values=4 * student.prunable // shards if load.sparsity is not None else 0,
        teacher=0 if load.teacher is None or load.taught_once else _weights(load.teacher, bfloat16, 1),
        activations=_activations(load, tokens, bfloat16, on_cpu),
        logits=logits,
    )


def largest_batch(load: StageLoad, memory_bytes: int, *, devices: int, bfloat16: bool, on_cpu: bool = False) -> int:
    """The most sequences of a batch that fit into nine tenths of a device's memory; 0 where not even one does."""

    def fits(batch: int) -> bool:
        needed = step_memory(replace(load, batch=batch), devices=devices, bfloat16=bfloat16, on_cpu=on_cpu)
        return needed.total <= _USABLE * memory_bytes

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high) and high < 2**20:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Storage:
    """Bytes on disk of a stage while it runs.

    Attributes:
        model: the weights alone, which is also what is left of it in the end.
        checkpoint: the largest checkpoint.
        kept: how many there are at most, the one that is being written and the best one counted.
    """

    model: int
    checkpoint: int
    kept: int

    @property
    def total(self) -> int:
        """All that lie there at once."""
        return self.kept * self.checkpoint


def checkpoint_bytes(load: StageLoad, step: int) -> int:
    """Bytes of the checkpoint that is written after `step` optimizer steps."""
    size = 12 * load.student.parameters + _SMALL_FILES + _LOG_LINE * (step // load.training.logging_steps)
    if load.sparsity is not None:
        size += load.student.prunable // 8
        if step < load.sparsity.last_update:
            size += 4 * int(sparsity_at(step, load.sparsity) * load.student.prunable)
    return size


def stage_storage(load: StageLoad) -> Storage:
    """The largest checkpoint of a stage, and all that are kept at once."""
    last = load.steps
    steps = {last}
    if load.sparsity is not None:
        steps.add(min(last, load.sparsity.last_update - 1))
    best = load.training.eval_steps is not None
    return Storage(
        model=4 * load.student.parameters,
        checkpoint=max(checkpoint_bytes(load, step) for step in steps),
        kept=load.training.save_total_limit + 1 + best,
    )


def _weights(sizes: ModelSizes, bfloat16: bool, shards: int) -> int:
    return 4 * sizes.parameters // shards + (2 * sizes.linear_weights if bfloat16 else 0)


def _activations(load: StageLoad, tokens: int, bfloat16: bool, on_cpu: bool) -> int:
    """What the backward pass needs of the student's layers, and the hidden states that are learned from."""
    sizes = load.student
    probability = load.training.dropout
    dropout = sizes.dropout if probability is None else probability
    attention_dropout = sizes.attention_dropout if probability is None else probability
    width, inner = sizes.hidden, sizes.intermediate
    mask = 0 if not dropout else 4 * width if on_cpu else width
    layer = 2 * mask + (24 * width + 4 * inner if bfloat16 else 4 * (8 * width + 2 * inner))
    if on_cpu and attention_dropout and load.training.batching != "packed":
        layer += 12 * sizes.heads * load.lengths.longest
    # Recomputed, a layer keeps its input alone, and one at a time all of it.
    kept = sizes.layers * layer if not load.training.gradient_checkpointing else sizes.layers * 4 * width + layer
    total = kept + 4 * width + mask  # and the norm of the embeddings
    if load.keeps_states:
        total += 2 * (sizes.layers + 1) * 4 * width
    return total * tokens

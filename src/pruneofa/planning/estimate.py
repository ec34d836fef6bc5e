"""The plan of a recipe: for each stage and number of devices what it computes, needs, takes and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pruneofa.errors import ConfigurationError
from pruneofa.planning.devices import DeviceKind
from pruneofa.planning.flops import StageFlops, stage_flops
from pruneofa.planning.load import PRETRAINING, TASK_STAGES, Lengths, StageLoad, pretraining_load, task_load
from pruneofa.planning.memory import Memory, largest_batch, step_memory
from pruneofa.planning.storage import Storage, stage_storage
from pruneofa.recipe.document import Recipe

DEFAULT_UTILISATION = 0.35
DEFAULT_HOST_SECONDS = 0.03


@dataclass(frozen=True)
class Assumptions:
    """What a plan is worked out from, beside the recipe.

    Attributes:
        kind: the devices; None: neither time nor fit is known, unless steps were measured.
        utilisation: share of the devices' peak that a run reaches.
        host_seconds: a batch takes at least as long: its kernels must be launched, one by one. Small batches on fast
            devices end there.
        link_bytes_per_second: at which a device exchanges gradients with the others, beside the backward pass; None:
            fast enough.
        price_per_hour: of one device, in whatever money; None: costs are left out.
        bfloat16: whether products are in bfloat16.
        batch_seconds: stage -> seconds of one step of one batch on one device, measured.
        step_seconds: stage -> seconds of an optimizer step on all devices, stated.
    """

    kind: DeviceKind | None = None
    utilisation: float = DEFAULT_UTILISATION
    host_seconds: float = DEFAULT_HOST_SECONDS
    link_bytes_per_second: float | None = None
    price_per_hour: float | None = None
    bfloat16: bool = True
    batch_seconds: Mapping[str, float] = field(default_factory=dict)
    step_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageOnDevices:
    """One stage on a number of devices.

    Attributes:
        stage: its name.
        devices: how many.
        batch: sequences of a batch on one device (`per_device_train_batch_size`).
        accumulation: batches of a step (`gradient_accumulation_steps`).
        memory: of one device.
        fits: whether that is within nine tenths of its memory; None where that is not known.
        largest_batch: the most sequences of a batch that fit; None where memory is not known.
        step_seconds: of one optimizer step; None where no rate is known.
        limit: what decides that: "stated", "measured", "compute", "host" or "exchange" (of gradients).
        seconds: of the whole stage.
        cost: of all devices for that time; None where time or price is not known.
        exchanged_bytes: of gradients that each device sends and receives in a step.
    """

    stage: str
    devices: int
    batch: int
    accumulation: int
    memory: Memory
    fits: bool | None
    largest_batch: int | None
    step_seconds: float | None
    limit: str | None
    seconds: float | None
    cost: float | None
    exchanged_bytes: int


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        load: what there is to do.
        flops: operations of the whole stage.
        storage: bytes of its checkpoints.
        on: one entry for each number of devices.
    """

    load: StageLoad
    flops: StageFlops
    storage: Storage
    on: list[StageOnDevices]


@dataclass(frozen=True)
class Plan:
    """A recipe's plan.

    Attributes:
        recipe: its name.
        model: name of the dense model.
        assumptions: what it was worked out from.
        devices: numbers of devices.
        stages: those that train.
        left_out: stage -> why nothing can be said of it.
    """

    recipe: str
    model: str
    assumptions: Assumptions
    devices: list[int]
    stages: list[StagePlan]
    left_out: dict[str, str]

    def total_flops(self) -> float:
        """Operations of all stages."""
        return sum(stage.flops.total for stage in self.stages)

    def total_seconds(self, devices: int) -> float | None:
        """Time of all stages, one after the other; None where that of one is not known."""
        return _sum(entry.seconds for stage in self.stages for entry in stage.on if entry.devices == devices)

    def total_cost(self, devices: int) -> float | None:
        """Cost of all stages; None where that of one is not known."""
        return _sum(entry.cost for stage in self.stages for entry in stage.on if entry.devices == devices)

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "recipe": self.recipe,
            "model": self.model,
            "assumptions": asdict(self.assumptions),
            "devices": self.devices,
            "total_flops": self.total_flops(),
            "total_seconds": {str(number): self.total_seconds(number) for number in self.devices},
            "total_cost": {str(number): self.total_cost(number) for number in self.devices},
            "stages": [_stage_dict(stage) for stage in self.stages],
            "left_out": self.left_out,
        }


def loads(
    recipe: Recipe,
    config: Any,
    *,
    corpus_lengths: Lengths | None = None,
    corpus_examples: int | None = None,
    task_examples: int | None = None,
) -> tuple[list[StageLoad], dict[str, str]]:
    """The work of every stage that trains, and why nothing can be said of the others.

    Args:
        recipe: whose stages.
        config: the dense model's, of transformers.
        corpus_lengths: of the corpus's examples (default: as its settings promise).
        corpus_examples: how many there are.
        task_examples: training examples of the task.
    """
    found, left_out = [], {}
    for stage in (*PRETRAINING, *TASK_STAGES):
        section = getattr(recipe, stage)
        if section is None:
            continue
        if stage == "quantize" and section.method != "qat":
            left_out[stage] = "it does not train"
            continue
        try:
            if stage in PRETRAINING:
                if recipe.corpus is None:
                    raise ConfigurationError(f"{stage}: needs the section corpus, which tells how long examples are")
                lengths = corpus_lengths or Lengths.of_corpus(recipe.corpus)
                found.append(pretraining_load(recipe, stage, config, lengths, corpus_examples))
            else:
                if recipe.task is None:
                    raise ConfigurationError(f"{stage}: needs the section task")
                lengths = Lengths.full(recipe.task.max_length)
                found.append(task_load(recipe, stage, config, lengths, task_examples))
        except ConfigurationError as error:
            left_out[stage] = str(error).removeprefix(f"{stage}: ")
    return found, left_out


def make_plan(
    recipe: Recipe,
    work: Sequence[StageLoad],
    assumptions: Assumptions,
    devices: Sequence[int] = (1,),
    left_out: Mapping[str, str] | None = None,
) -> Plan:
    """Work out what every stage needs, takes and costs.

    Raises:
        ConfigurationError: a number of devices does not divide a stage's sequences.
    """
    stages = []
    for load in work:
        flops = stage_flops(load)
        on = [_on_devices(load, flops, number, assumptions) for number in devices]
        stages.append(StagePlan(load, flops, stage_storage(load), on))
    return Plan(recipe.name, recipe.model.name_or_path, assumptions, list(devices), stages, dict(left_out or {}))


def _on_devices(load: StageLoad, flops: StageFlops, devices: int, given: Assumptions) -> StageOnDevices:
    shared = load.on(devices)
    accumulation = load.sequences // devices // shared.batch
    on_cpu = given.kind is not None and given.kind.is_cpu
    memory = step_memory(shared, devices=devices, bfloat16=given.bfloat16, on_cpu=on_cpu)
    room = None if given.kind is None else given.kind.memory_bytes
    most = None
    if room is not None:
        most = largest_batch(shared, room, devices=devices, bfloat16=given.bfloat16, on_cpu=on_cpu)
    # A ring sends and receives each gradient twice, but for the device's own share.
    exchanged = int(2 * 4 * load.student.parameters * (devices - 1) / devices)
    step, limit = _step_seconds(load, shared, flops, devices, exchanged, given)
    seconds = None if step is None else step * load.steps
    priced = seconds is not None and given.price_per_hour is not None
    return StageOnDevices(
        stage=load.stage,
        devices=devices,
        batch=shared.batch,
        accumulation=accumulation,
        memory=memory,
        fits=None if room is None else memory.total <= 0.9 * room,
        largest_batch=most,
        step_seconds=step,
        limit=limit,
        seconds=seconds,
        cost=seconds / 3600 * devices * given.price_per_hour if priced else None,  # type: ignore[operator]
        exchanged_bytes=exchanged,
    )


def _step_seconds(
    load: StageLoad, shared: StageLoad, flops: StageFlops, devices: int, exchanged: int, given: Assumptions
) -> tuple[float | None, str | None]:
    """Seconds of an optimizer step, and what decides them: stated, else measured, else by the rates."""
    if load.stage in given.step_seconds:
        return given.step_seconds[load.stage], "stated"
    batches = load.sequences // devices // shared.batch
    if load.stage in given.batch_seconds:
        # Measured with the recipe's batch; a smaller one takes its share of that.
        found = {"measured": given.batch_seconds[load.stage] * batches * shared.batch / load.batch}
    elif given.kind is not None and given.kind.peak_flops is not None:
        rate = devices * given.kind.peak_flops * given.utilisation
        found = {"compute": flops.total / load.steps / rate, "host": given.host_seconds * batches}
    else:
        return None, None
    if given.link_bytes_per_second is not None:
        found["exchange"] = exchanged / given.link_bytes_per_second
    limit = max(found, key=lambda name: found[name])
    return found[limit], limit


def _stage_dict(stage: StagePlan) -> dict[str, Any]:
    load = stage.load
    return {
        "stage": load.stage,
        "steps": load.steps,
        "sequences": load.sequences,
        "lengths": asdict(load.lengths),
        "tokens": load.tokens,
        "predicted": load.predicted,
        "student": asdict(load.student),
        "has_teacher": load.teacher is not None,
        "flops": {**asdict(stage.flops), "total": stage.flops.total},
        "storage": {**asdict(stage.storage), "total": stage.storage.total},
        "on": [
            {**asdict(entry), "memory": {**asdict(entry.memory), "total": entry.memory.total}} for entry in stage.on
        ],
    }


def _sum(values: Any) -> float | None:
    found = list(values)
    return None if not found or any(value is None for value in found) else float(sum(found))

"""The plan of a recipe: for each stage and number of devices what it computes, what it needs, how long it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pruneofa.planning.devices import DeviceKind
from pruneofa.planning.flops import StageFlops, stage_flops
from pruneofa.planning.load import StageLoad
from pruneofa.planning.memory import Memory, Storage, largest_batch, stage_storage, step_memory
from pruneofa.recipe.document import Recipe

DEFAULT_UTILISATION = 0.35
LAUNCH_SECONDS = 0.03
"""A batch takes at least as long: its kernels must be launched, one by one. Small batches on fast devices end there."""


@dataclass(frozen=True)
class Assumptions:
    """What a plan is worked out from, beside the recipe.

    Attributes:
        kind: the devices; None: neither time nor fit is known, unless steps were measured.
        utilisation: share of the devices' peak that a run reaches.
        bfloat16: whether products are in bfloat16.
        batch_seconds: stage -> seconds of one step of one batch on one device, measured.
        step_seconds: stage -> seconds of an optimizer step on all devices, stated.
    """

    kind: DeviceKind | None = None
    utilisation: float = DEFAULT_UTILISATION
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
        basis: where that is from: "stated", "measured", "rate" (of operations) or "launch" (of the batches' kernels).
        seconds: of the whole stage.
    """

    stage: str
    devices: int
    batch: int
    accumulation: int
    memory: Memory
    fits: bool | None
    largest_batch: int | None
    step_seconds: float | None
    basis: str | None
    seconds: float | None


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

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "recipe": self.recipe,
            "model": self.model,
            "assumptions": {**asdict(self.assumptions), "launch_seconds": LAUNCH_SECONDS},
            "devices": self.devices,
            "total_flops": self.total_flops(),
            "total_seconds": {str(number): self.total_seconds(number) for number in self.devices},
            "stages": [_stage_dict(stage) for stage in self.stages],
            "left_out": self.left_out,
        }


def make_plan(
    recipe: Recipe,
    work: Sequence[StageLoad],
    assumptions: Assumptions,
    devices: Sequence[int] = (1,),
    left_out: Mapping[str, str] | None = None,
) -> Plan:
    """Work out what every stage needs and how long it takes.

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
    step, basis = _step_seconds(load, shared, flops, devices, given)
    return StageOnDevices(
        stage=load.stage,
        devices=devices,
        batch=shared.batch,
        accumulation=accumulation,
        memory=memory,
        fits=None if room is None else memory.total <= 0.9 * room,
        largest_batch=most,
        step_seconds=step,
        basis=basis,
        seconds=None if step is None else step * load.steps,
    )


def _step_seconds(
    load: StageLoad, shared: StageLoad, flops: StageFlops, devices: int, given: Assumptions
) -> tuple[float | None, str | None]:
    """Seconds of an optimizer step, and where they are from: stated, else measured, else by the rates."""
    if load.stage in given.step_seconds:
        return given.step_seconds[load.stage], "stated"
    if load.stage in given.batch_seconds:
        # Measured with the recipe's batch; a smaller one takes its share of that.
        return given.batch_seconds[load.stage] * load.sequences / devices / load.batch, "measured"
    if given.kind is not None and given.kind.peak_flops is not None:
        rate = flops.total / load.steps / (devices * given.kind.peak_flops * given.utilisation)
        launch = LAUNCH_SECONDS * load.sequences / devices / shared.batch
        return (rate, "rate") if rate >= launch else (launch, "launch")
    return None, None


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

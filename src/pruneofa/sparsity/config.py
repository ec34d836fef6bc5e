"""Settings of pruning."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pruneofa.settings.base import Settings
from pruneofa.sparsity.saliency.saliencies import saliency_of


class SparsityConfig(Settings):
    """What is pruned, how much of it and when. Steps are counted in completed optimizer steps.

    The defaults of the steps suit a run of 100,000 steps, the authors' own (PruneOFA, section 4): the sparsity rises
    until 50,000, masks are still re-selected until 80,000 and rest from there on.
    """

    target_sparsity: float = Field(
        0.9, ge=0.0, lt=1.0, allow_inf_nan=False, description="share of zeros in the end, below 1"
    )
    initial_sparsity: float = Field(
        0.0, ge=0.0, lt=1.0, allow_inf_nan=False, description="share of zeros at begin_step"
    )
    begin_step: int = Field(0, ge=0, description="first step of the cubic ramp")
    end_step: int = Field(50_000, ge=0, description="step at which the target is reached exactly")
    update_every: int = Field(1_000, ge=1, description="steps between re-selections of the mask")
    freeze_step: int | None = Field(
        None, ge=0, description="no re-selection after it; values under the mask are dropped there (default: end_step)"
    )
    saliency: str = Field(
        "magnitude", description="which weight matters: magnitude, wanda, block_fisher, or one that was registered"
    )
    pattern: Literal["unstructured"] = Field("unstructured", description="the shape of what goes")
    scope: Literal["uniform", "global"] = Field("uniform", description="the target holds per tensor, or over all")
    targets: list[str] | None = Field(
        None,
        min_length=1,
        description="module names to prune, globs or re:expressions (default: the encoder's Linear layers)",
    )
    ignore: list[str] = Field(default_factory=list, description="module names never pruned, globs or re:expressions")
    prune_pooler: bool = Field(False, description="prune the pooler's Linear too, as the authors' code does")

    @field_validator("saliency")
    @classmethod
    def _is_registered(cls, value: str) -> str:
        saliency_of(value)
        return value

    @field_validator("end_step")
    @classmethod
    def _ends_after_begin(cls, value: int, info: ValidationInfo) -> int:
        begin = info.data.get("begin_step")
        if begin is not None and value < begin:
            raise ValueError(f"{value} lies before begin_step = {begin}; allowed: end_step >= begin_step")
        return value

    @field_validator("freeze_step")
    @classmethod
    def _freezes_after_end(cls, value: int | None, info: ValidationInfo) -> int | None:
        end = info.data.get("end_step")
        if value is not None and end is not None and value < end:
            raise ValueError(f"{value} lies before end_step = {end}; allowed: freeze_step >= end_step")
        return value

    @field_validator("initial_sparsity")
    @classmethod
    def _starts_below_target(cls, value: float, info: ValidationInfo) -> float:
        target = info.data.get("target_sparsity")
        if target is not None and value > target:
            raise ValueError(f"{value} is above target_sparsity = {target}; allowed: 0 to the target")
        return value

    @property
    def last_update(self) -> int:
        """The step of the last re-selection: `freeze_step`, or `end_step` where none is set."""
        return self.end_step if self.freeze_step is None else self.freeze_step

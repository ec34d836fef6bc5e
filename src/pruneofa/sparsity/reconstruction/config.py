"""Settings of one-shot pruning by layer-wise reconstruction."""

from typing import Literal

from pydantic import Field

from pruneofa.settings.base import Settings


class ReconstructionConfig(Settings):
    """How far a model is pruned, and how its masks and weights are found."""

    target_sparsity: float = Field(
        0.5, ge=0.0, lt=1.0, allow_inf_nan=False, description="share of zeros over all pruned weights, below 1"
    )
    budget: Literal["sensitivity", "uniform"] = Field(
        "sensitivity",
        description="zeros for each layer by what its pruning does to the output, or as many everywhere",
    )
    masks: Literal["admm", "obs"] = Field("admm", description="how it is found which weights stay")
    iterations: int = Field(60, ge=1, description="iterations of ADMM")
    mask_damping: float = Field(
        0.01,
        gt=0.0,
        allow_inf_nan=False,
        description="share of the Hessian's mean diagonal added for the masks",
    )
    damping: float = Field(0.001, gt=0.0, allow_inf_nan=False, description="the same for fitting the weights that stay")
    residual_targets: bool = Field(
        True, description="layers before a residual sum also make up for the error of what they are added to"
    )
    ignore: list[str] = Field(default_factory=list, description="module names never pruned, globs or re:expressions")

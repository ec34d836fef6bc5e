"""What a recipe says of each stage that trains; the training gets it whole. Composed of the parts' own settings."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pruneofa.data.pretraining.whole_words import Masking
from pruneofa.distillation.config import DistillationConfig, EmbeddingDistillationConfig
from pruneofa.quantization.config import CalibrationConfig, QuantizationConfig
from pruneofa.settings.base import Settings
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.training.config import TrainingConfig

__all__ = [
    "FinetuneSection",
    "PruneEmbedderSection",
    "PruneSection",
    "QuantizeSection",
    "TeachSection",
    "TransferSection",
]


class TeachSection(Settings):
    """Teacher preparation: the dense model goes on pre-training on the corpus (PruneOFA, section 3, step 1)."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")
    masking: Masking = Field("tokens", description="what is chosen to be predicted: tokens or whole_words")
    unlock: bool = Field(False, description="also train a sparse model, which becomes dense; else it is refused")


class PruneSection(Settings):
    """Student pruning: sparsity, rewinding and distillation at once (PruneOFA, section 3, step 2)."""

    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(lr_scheduler_type="rewinding"))
    sparsity: SparsityConfig = Field(default_factory=SparsityConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=DistillationConfig, description="null: without a teacher"
    )
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")
    masking: Masking = Field("tokens", description="what is chosen to be predicted: tokens or whole_words")


class PruneEmbedderSection(Settings):
    """A sentence encoder becomes sparse: what it gives for any text is learned from its dense self, without labels."""

    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(batching="packed", dropout=0.0))
    sparsity: SparsityConfig | None = Field(
        None, description="zeros more than the model has already (default: its pattern is locked)"
    )
    embedding: EmbeddingDistillationConfig = Field(default_factory=EmbeddingDistillationConfig)


class FinetuneSection(Settings):
    """The dense model on the task: the teacher of the transfer, and what the sparse model is compared with."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    seeds: list[int] | None = Field(
        None,
        min_length=1,
        description="train one model for each, keep the best on what task.validation_fraction holds out (default: the "
        "run's seed)",
    )
    unlock: bool = Field(False, description="also train a sparse model, which becomes dense; else it is refused")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (len(set(value)) < len(value) or any(not 0 <= seed < 2**32 for seed in value)):
            raise ValueError(f"is {value}; allowed: different whole numbers from 0 to 2^32 - 1")
        return value


class TransferSection(Settings):
    """The sparse model on the task: its zeros locked, its teacher the dense one (PruneOFA, section 3, step 3)."""

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=lambda: DistillationConfig(hardness=1.0), description="null: labels alone"
    )
    sparsity: SparsityConfig | None = Field(
        None, description="prune while fine-tuning instead of locking a pattern: the baseline that the paper beats"
    )
    lock: bool = Field(True, description="false: nothing holds the zeros, they vanish; an ablation")
    new_head: bool = Field(
        False, description="a sparse model's head for another task makes way for a new one at random; else an error"
    )


class QuantizeSection(Settings):
    """int8: by training with rounding, lock and teacher still on (PruneOFA, section 4), or by calibration alone."""

    method: Literal["qat", "calibration"] = Field(
        "qat", description="quantization-aware training, or ranges from a few hundred texts without training"
    )
    calibration: CalibrationConfig = Field(
        default_factory=CalibrationConfig,
        description="for method calibration, and before training where activation_range is percentile or mse",
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    value_bits: float | None = Field(
        None,
        gt=0.0,
        le=8.0,
        description="choose the step of each encoder weight by its sensitivity, so that entropy-coded values take so "
        "many bits on average (default: the steps of quantization)",
    )
    distillation: DistillationConfig | None = Field(
        default_factory=lambda: DistillationConfig(hardness=1.0), description="null: labels alone"
    )

    @field_validator("value_bits")
    @classmethod
    def _one_choice_of_steps(cls, value: float | None, info: ValidationInfo) -> float | None:
        scheme = info.data.get("quantization")
        if value is not None and scheme is not None and scheme.weight_scale == "mse":
            raise ValueError(
                f"is {value:g}, but quantization.weight_scale is 'mse', which chooses the steps itself; leave one out"
            )
        return value

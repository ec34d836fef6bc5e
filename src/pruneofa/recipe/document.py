"""The recipe: one typed document that describes a whole run, composed of the parts' own settings."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from pruneofa.benchmarking.config import BenchConfig
from pruneofa.data.pretraining.corpus import CorpusConfig
from pruneofa.data.pretraining.whole_words import Masking
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.distillation.config import DistillationConfig
from pruneofa.errors import ConfigurationError
from pruneofa.quantization.config import CalibrationConfig, QuantizationConfig
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.training.config import TrainingConfig

_STRICT = ConfigDict(extra="forbid", frozen=True)


class ModelSection(BaseModel):
    """The dense encoder that everything starts from."""

    model_config = _STRICT

    name_or_path: str = Field(
        description="local folder, hub name, or package:MODULE/FOLDER for one that an installed package holds"
    )
    sparse_name_or_path: str | None = Field(
        None, description="a sparse pre-trained model to transfer, in place of corpus, teach and prune"
    )
    architecture: dict[str, Any] | None = Field(
        None, description="what its config.json says (model_type, sizes), to plan a run without its files"
    )


class TeachSection(BaseModel):
    """Teacher preparation: the dense model goes on pre-training on the corpus (PruneOFA, section 3, step 1)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")
    masking: Masking = Field("tokens", description="what is chosen to be predicted: tokens or whole_words")


class PruneSection(BaseModel):
    """Student pruning: sparsity, rewinding and distillation at once (PruneOFA, section 3, step 2)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(lr_scheduler_type="rewinding"))
    sparsity: SparsityConfig = Field(default_factory=SparsityConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=DistillationConfig, description="null: without a teacher"
    )
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")
    masking: Masking = Field("tokens", description="what is chosen to be predicted: tokens or whole_words")


class FinetuneSection(BaseModel):
    """The dense model on the task: the teacher of the transfer, and what the sparse model is compared with."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    seeds: list[int] | None = Field(
        None,
        min_length=1,
        description="train one model for each, keep the best on what task.validation_fraction holds out (default: the "
        "run's seed)",
    )

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (len(set(value)) < len(value) or any(not 0 <= seed < 2**32 for seed in value)):
            raise ValueError(f"is {value}; allowed: different whole numbers from 0 to 2^32 - 1")
        return value


class TransferSection(BaseModel):
    """The sparse model on the task: its zeros locked, its teacher the dense one (PruneOFA, section 3, step 3)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=lambda: DistillationConfig(hardness=1.0), description="null: labels alone"
    )
    sparsity: SparsityConfig | None = Field(
        None, description="prune while fine-tuning instead of locking a pattern: the baseline that the paper beats"
    )
    lock: bool = Field(True, description="false: nothing holds the zeros, they vanish; an ablation")


class QuantizeSection(BaseModel):
    """int8: by training with rounding, lock and teacher still on (PruneOFA, section 4), or by calibration alone."""

    model_config = _STRICT

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


class CompressSection(BaseModel):
    """The small files of the run's sparse models."""

    model_config = _STRICT

    form: Literal["bitmask", "packed"] = Field(
        "bitmask", description="bitmask: fast to load; packed: entropy-coded, the smallest"
    )


class Recipe(BaseModel):
    """A whole run. A section that is left out means that its stage is left out."""

    model_config = _STRICT

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run")
    seed: int = Field(0, ge=0, lt=2**32, description="of everything random in the run")
    model: ModelSection
    corpus: CorpusConfig | None = None
    teach: TeachSection | None = None
    prune: PruneSection | None = None
    task: TaskConfig | None = None
    finetune: FinetuneSection | None = None
    transfer: TransferSection | None = None
    quantize: QuantizeSection | None = None
    compress: CompressSection = Field(default_factory=CompressSection)
    bench: BenchConfig | None = Field(
        None,
        description="time the run's models: the dense one in ONNX Runtime, the sparse one in the engine and in peers",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_pretraining(cls, data: Any) -> Any:
        """A model that is sparse already takes the place of the sections that would make one."""
        model = data.get("model") if isinstance(data, Mapping) else None
        if isinstance(model, Mapping) and model.get("sparse_name_or_path") is not None:
            return {**data, "corpus": None, "teach": None, "prune": None}
        return data


def required_task(recipe: Recipe) -> TaskConfig:
    """The recipe's task, with the files of its folder found.

    Raises:
        ConfigurationError: it has none.
        DataError: its folder lacks its files.
    """
    if recipe.task is None:
        raise ConfigurationError(
            "task: is missing; give --train_file and --validation_file, or a recipe with the section task"
        )
    return located(recipe.task)

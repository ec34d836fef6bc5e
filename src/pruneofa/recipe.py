"""The recipe: one typed document that describes a whole run, composed of the parts' own settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pruneofa.data.corpus import CorpusConfig
from pruneofa.data.tasks import TaskConfig
from pruneofa.distillation.config import DistillationConfig
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.sparsity.config import SparsityConfig
from pruneofa.training.config import TrainingConfig

_STRICT = ConfigDict(extra="forbid", frozen=True)


class ModelSection(BaseModel):
    """The dense encoder that everything starts from."""

    model_config = _STRICT

    name_or_path: str = Field(
        description="local folder, hub name, or package:MODULE/FOLDER for one that an installed package holds"
    )


class TeachSection(BaseModel):
    """Teacher preparation: the dense model goes on pre-training on the corpus (PruneOFA, section 3, step 1)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")


class PruneSection(BaseModel):
    """Student pruning: sparsity, rewinding and distillation at once (PruneOFA, section 3, step 2)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(lr_scheduler_type="rewinding"))
    sparsity: SparsityConfig = Field(default_factory=SparsityConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=DistillationConfig, description="null: without a teacher"
    )
    mask_probability: float = Field(0.15, gt=0.0, lt=1.0, description="share of tokens to be predicted")


class FinetuneSection(BaseModel):
    """The dense model on the task: the teacher of the transfer, and what the sparse model is compared with."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)


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


class QuantizeSection(BaseModel):
    """Quantization-aware training to int8, with lock and teacher still on (PruneOFA, section 4)."""

    model_config = _STRICT

    training: TrainingConfig = Field(default_factory=TrainingConfig)
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    distillation: DistillationConfig | None = Field(
        default_factory=lambda: DistillationConfig(hardness=1.0), description="null: labels alone"
    )


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

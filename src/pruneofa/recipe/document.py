"""The recipe: one typed document that describes a whole run, composed of the parts' own settings."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from pruneofa.benchmarking.config import BenchConfig
from pruneofa.data.pretraining.corpus import CorpusConfig
from pruneofa.data.tasks.config import TaskConfig
from pruneofa.data.tasks.layouts import located
from pruneofa.errors import ConfigurationError
from pruneofa.settings.base import Settings
from pruneofa.sparsity.reconstruction.config import ReconstructionConfig
from pruneofa.training.sections import (
    FinetuneSection,
    PruneEmbedderSection,
    PruneSection,
    QuantizeSection,
    TeachSection,
    TransferSection,
)


class ModelSection(Settings):
    """The dense encoder that everything starts from."""

    name_or_path: str = Field(
        description="local folder, hub name, compressed file (*.pofa), or package:MODULE/FOLDER of an installed package"
    )
    sparse_name_or_path: str | None = Field(
        None, description="a sparse pre-trained model to transfer, in place of corpus, teach and prune"
    )
    architecture: dict[str, Any] | None = Field(
        None, description="what its config.json says (model_type, sizes), to plan a run without its files"
    )


class OneShotSection(Settings):
    """Pruning without training, on some examples of the corpus: the start of a sentence encoder's pruning."""

    reconstruction: ReconstructionConfig = Field(default_factory=ReconstructionConfig)
    examples: int = Field(512, ge=1, description="how many examples of the corpus the model is pruned on")
    batch_size: int = Field(16, ge=1, description="of them in a batch")


class CompressSection(Settings):
    """The small files of the run's sparse models."""

    form: Literal["bitmask", "packed"] = Field(
        "bitmask", description="bitmask: fast to load; packed: entropy-coded, the smallest"
    )


class Recipe(Settings):
    """A whole run. A section that is left out means that its stage is left out."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run")
    seed: int = Field(0, ge=0, lt=2**32, description="of everything random in the run")
    model: ModelSection
    corpus: CorpusConfig | None = None
    teach: TeachSection | None = None
    prune: PruneSection | None = None
    one_shot: OneShotSection | None = None
    prune_embedder: PruneEmbedderSection | None = None
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

"""Settings of a task: where its data is, what its columns mean, and what it is judged by."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from pruneofa.data.metrics.task_metrics import METRICS, TaskKind
from pruneofa.data.tasks.labels import label_text
from pruneofa.data.tasks.presets import PRESETS, QUESTIONS_LENGTH
from pruneofa.data.tokenization import check_max_length
from pruneofa.errors import ConfigurationError
from pruneofa.settings.base import Settings

__all__ = ["QuestionAnsweringConfig", "Source", "TaskConfig"]

_NO_LIMIT = 10**20  # of a tokenizer, in transformers
Source = str | list[str]
"""What `pruneofa.data.sources.reading.read_rows` reads."""


class QuestionAnsweringConfig(Settings):
    """How long contexts are cut into windows, and how answers are chosen (as BERT's and transformers' scripts)."""

    stride: int = Field(
        128, ge=0, description="tokens that neighbouring windows of a long context share (less in a short model)"
    )
    max_question_length: int = Field(
        64, ge=1, description="longest question in tokens; longer ones are cut (less in a short model)"
    )
    max_answer_length: int = Field(30, ge=1, description="longest answer in tokens")
    n_best: int = Field(20, ge=1, description="best start and end positions that are combined, and answers kept")
    unanswerable: bool | None = Field(
        None, description="some questions have no answer, as in SQuAD 2.0 (default: if one of the split has none)"
    )
    null_threshold: float = Field(
        0.0, allow_inf_nan=False, description="no answer where its score is above the best answer's by more than this"
    )


class TaskConfig(Settings):
    """A task. A public one is known by its name (squad, squad_v2, mnli, qqp, qnli, sst2), with columns and sources."""

    task_name: str = Field(
        default="classification", min_length=1, description="a public task's name, or any name for one's own"
    )
    kind: Literal["auto", "classification", "regression", "question_answering"] = Field(
        default="auto", description="auto: by the rows (regression where labels are numbers and not all are whole)"
    )
    data_dir: str | None = Field(
        default=None, min_length=1, description="folder that holds the public files of the task, instead of sources"
    )
    evaluation_fraction: float | None = Field(
        default=None, gt=0.0, le=0.5, description="share of train that is evaluated on, where there is no evaluation"
    )
    train: Source | None = Field(
        default=None, min_length=1, validate_default=True, description="Source of the training examples"
    )
    evaluation: Source | None = Field(
        default=None,
        min_length=1,
        validate_default=True,
        description="Source of the examples that results are reported on",
    )
    also_evaluate: dict[str, Source] = Field(
        default_factory=dict, description="further sources to report on: name (such as mismatched) -> source"
    )
    validation_fraction: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="share of train that no stage trains on, for choosing seeds, rates and steps by",
    )
    split_seed: int = Field(
        default=0,
        ge=0,
        description="decides which rows evaluation_fraction and validation_fraction hold out; the same for every stage "
        "and training seed",
    )
    article_split: str | None = Field(
        default=None,
        min_length=1,
        description="JSON file with train_articles and eval_articles, to make two splits of one by article",
    )
    article_column: str = Field(default="title", min_length=1, description="Column of the article, for article_split")
    text_column: str | None = Field(default=None, min_length=1, description="Column of the text (default: text)")
    text_pair_column: str | None = Field(default=None, min_length=1, description="Column of a pair's second text")
    label_column: str | None = Field(default=None, min_length=1, description="Column of the label (default: label)")
    label_names: list[str] | None = Field(
        default=None,
        min_length=2,
        description="The labels in class order: a number in a file counts them from 0; default: those of training, "
        "sorted",
    )
    drop_labels: list[str] = Field(default_factory=list, description="rows with such a label are left out and counted")
    on_error: Literal["stop", "drop"] | None = Field(
        default=None,
        description="a row that can't be used ends the run (stop), or is left out, counted and listed (drop); default: "
        "stop, for questions on texts drop",
    )
    broken_rows: Literal["error", "drop"] = Field(
        default="error", description="lines of a TSV file with more or fewer fields than its header"
    )
    strip_full_stop: bool = Field(
        default=False, description="take a closing full stop off every text, for data of which a part has lost them"
    )
    partial: str | None = Field(
        default=None, min_length=1, description="what is incomplete about the data; said beside every result"
    )
    max_length: int = Field(
        default=128,
        ge=8,
        description="Longest example in tokens; longer ones are cut (default for questions on texts: 384)",
    )
    question_answering: QuestionAnsweringConfig = Field(default_factory=QuestionAnsweringConfig)
    metric: Literal["accuracy", "f1", "matthews", "pearson", "spearman", "exact_match"] | None = Field(
        default=None,
        validate_default=True,
        description="Metric that the task is judged by (default: accuracy, pearson, f1)",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, data: Any) -> Any:
        """A public task's own settings, or the length that questions on texts need, below those that are given."""
        if not isinstance(data, Mapping):
            return data
        preset = PRESETS.get(str(data.get("task_name")))
        if preset is None:
            return {"max_length": QUESTIONS_LENGTH, **data} if data.get("kind") == "question_answering" else data
        named = any(data.get(key) is not None for key in ("train", "evaluation", "data_dir"))
        return {**preset.settings, **({} if named else preset.hub), **data}

    @field_validator("train", "evaluation")
    @classmethod
    def _sources_known(cls, value: Source | None, info: ValidationInfo) -> Source | None:
        folder = info.data.get("data_dir")
        if value is not None and folder is not None:
            raise ValueError(f"is given beside data_dir = {folder!r}; allowed: one of the two")
        split_off = info.field_name == "evaluation" and info.data.get("evaluation_fraction") is not None
        if value is not None and split_off:
            raise ValueError("is given beside evaluation_fraction; allowed: one of the two")
        if value is None and folder is None and not split_off:
            raise PydanticKnownError("missing")
        return value

    @field_validator("label_names", "drop_labels", mode="before")
    @classmethod
    def _labels_as_text(cls, value: Any) -> Any:
        """Numbers and booleans as the labels that they are in a file: [0, 1] is ["0", "1"]."""
        plain = isinstance(value, list) and all(isinstance(label, int | float | str) for label in value)
        return [label if isinstance(label, str) else label_text(label) for label in value] if plain else value

    @field_validator("label_names")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not all(name.strip() for name in value):
            raise ValueError("names an empty label; each label needs a name")
        texts = [label_text(name) for name in value or ()]
        if value is not None and len(set(texts)) < len(value):
            doubles = sorted({name for name, text in zip(value, texts, strict=True) if texts.count(text) > 1})
            raise ValueError(f"names a label twice: {', '.join(doubles)}; each label must stand once")
        return value

    @field_validator("also_evaluate")
    @classmethod
    def _names_are_plain(cls, value: dict[str, Source]) -> dict[str, Source]:
        for name in value:
            if not name.isidentifier() or name in ("train", "validation", "evaluation"):
                raise ValueError(f"the name {name!r} can't be used; allowed: a word such as mismatched")
        return value

    @field_validator("metric")
    @classmethod
    def _fits_kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind", "auto")
        if value is not None and kind != "auto" and value not in METRICS[kind]:
            raise ValueError(f"is {value!r}; allowed for {kind}: {', '.join(METRICS[kind])}")
        return value

    def given_length(self) -> int | None:
        """`max_length`, where it is not the usual one of its kind of task, which `settled` fits to a model."""
        usual = self.kind == "question_answering" and self.max_length == QUESTIONS_LENGTH
        return self.max_length if "max_length" in self.model_fields_set and not usual else None

    def settled(
        self, kind: TaskKind, positions: int | None = None, text_length: int | None = None, *, trained: bool = False
    ) -> Self:
        """This task for a kind that its rows or its model told, and for what a model takes.

        Where nobody gave a length, training takes the usual one (questions on texts 384, else 128) as far as the model
        and its tokenizer allow; a trained model is evaluated at its own length, which its tokenizer names, so that a
        text is cut as it is anywhere else.

        Args:
            kind: of the task.
            positions: the longest sequence that the model takes; None where it has no limit.
            text_length: the `model_max_length` of its tokenizer, which may stand for no limit.
            trained: the model has learned the task.

        Raises:
            DataError: the length that was given is over the model's.
        """
        if (given := self.given_length()) is not None:
            check_max_length(given, positions)
            return self
        limits = [limit for limit in (positions, text_length) if limit is not None and limit < _NO_LIMIT]
        usual = QUESTIONS_LENGTH if kind == "question_answering" else self.max_length
        own = trained and kind != "question_answering" and bool(limits)
        return self.model_copy(update={"max_length": min(limits if own else [usual, *limits])})

    def metric_of(self, kind: TaskKind) -> str:
        """The metric that the task is judged by, when it is of this kind.

        Raises:
            ConfigurationError: `metric` is none of this kind's.
        """
        metric = self.metric or {"regression": "pearson", "question_answering": "f1"}.get(kind, "accuracy")
        if metric not in METRICS[kind]:
            raise ConfigurationError(
                f"task.metric is {metric!r}, but the task is {kind}; allowed: {', '.join(METRICS[kind])}"
            )
        return metric

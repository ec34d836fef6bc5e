"""Settings of one training run, and their translation into transformers' arguments."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

if TYPE_CHECKING:
    from transformers import TrainingArguments


class TrainingConfig(BaseModel):
    """How long, how fast and in what precision a model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_steps: int | None = Field(None, ge=1, description="optimizer steps; alternatively num_train_epochs")
    num_train_epochs: float | None = Field(None, gt=0, description="passes over the data, where max_steps is not set")
    per_device_train_batch_size: int = Field(32, ge=1, description="examples in a batch")
    per_device_eval_batch_size: int = Field(64, ge=1, description="examples in a batch of evaluation")
    gradient_accumulation_steps: int = Field(1, ge=1, description="batches for one optimizer step")
    learning_rate: float = Field(5e-5, gt=0, description="highest rate of a linear schedule")
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup", "rewinding", "rewinding_cycles"] = Field(
        "linear", description="schedule of the rate; the rewinding ones need pruning to follow"
    )
    warmup_ratio: float = Field(0.0, ge=0.0, lt=1.0, description="share of the steps in which the rate rises from 0")
    weight_decay: float = Field(0.01, ge=0.0, description="decoupled decay of weights (not of biases and norms)")
    adam_beta2: float = Field(0.999, gt=0.0, lt=1.0, description="decay of AdamW's second moment")
    max_grad_norm: float = Field(1.0, ge=0.0, description="gradients are clipped to this norm; 0: not")
    dropout: float | None = Field(None, ge=0.0, lt=1.0, description="dropout of the trained model (default: its own)")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of products and activations; auto: bfloat16 where the device computes in it"
    )
    logging_steps: int = Field(50, ge=1, description="optimizer steps between log lines")
    eval_steps: int | None = Field(None, ge=1, description="optimizer steps between evaluations (default: at the end)")
    save_steps: int = Field(500, ge=1, description="optimizer steps between checkpoints")
    save_total_limit: int = Field(2, ge=1, description="checkpoints kept")
    group_by_length: bool = Field(True, description="batches of similar lengths, so that little is padding")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, a third more time")
    torch_compile: bool = Field(False, description="compile the model; pays for long runs")
    dataloader_num_workers: int = Field(0, ge=0, description="processes that prepare batches")
    report_to: list[str] = Field(default_factory=list, description="trackers of transformers' Trainer: tensorboard ...")

    @field_validator("num_train_epochs")
    @classmethod
    def _one_length(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("max_steps") is not None:
            raise ValueError(f"{value} is given beside max_steps = {info.data['max_steps']}; allowed: one of the two")
        return value


def bfloat16_pays() -> bool:
    """Whether the device at hand multiplies in bfloat16 natively."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())


def uses_bfloat16(config: TrainingConfig) -> bool:
    """The precision that `config` comes to on this machine."""
    return config.precision == "bfloat16" or (config.precision == "auto" and bfloat16_pays())


def training_arguments(config: TrainingConfig, output_dir: str | Path, seed: int) -> "TrainingArguments":
    """Transformers' arguments for `config`; the rewinding schedules are the trainer's own business."""
    import torch
    from transformers import TrainingArguments

    from pruneofa.training.rewinding import REWINDING_SCHEDULES

    library_schedule = "linear" if config.lr_scheduler_type in REWINDING_SCHEDULES else config.lr_scheduler_type
    length: dict[str, Any] = (
        {"max_steps": config.max_steps}
        if config.max_steps is not None
        else {"num_train_epochs": 3.0 if config.num_train_epochs is None else config.num_train_epochs}
    )
    return TrainingArguments(
        output_dir=str(output_dir),
        seed=seed,
        per_device_train_batch_size=config.per_device_train_batch_size,
        per_device_eval_batch_size=config.per_device_eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=library_schedule,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        bf16=uses_bfloat16(config),
        use_cpu=not torch.cuda.is_available(),
        logging_steps=config.logging_steps,
        eval_strategy="no" if config.eval_steps is None else "steps",
        eval_steps=config.eval_steps,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=config.save_total_limit,
        torch_compile=config.torch_compile,
        dataloader_num_workers=config.dataloader_num_workers,
        dataloader_pin_memory=False,
        report_to=config.report_to or "none",
        # A loss that is not finite must be seen, not averaged away; and the loop's own bar is replaced by ours.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        optim="adamw_torch_fused",
        **length,
    )

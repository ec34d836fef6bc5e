"""Settings of one training run, and their translation into transformers' arguments."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pruneofa.settings.base import Settings

if TYPE_CHECKING:
    from transformers import TrainingArguments


logger = logging.getLogger(__name__)


class TrainingConfig(Settings):
    """How long, how fast and in what precision a model is trained."""

    max_steps: int | None = Field(None, ge=1, description="optimizer steps; alternatively num_train_epochs")
    num_train_epochs: float | None = Field(None, gt=0, description="passes over the data, where max_steps is not set")
    per_device_train_batch_size: int = Field(32, ge=1, description="examples in a batch of one process")
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
    save_total_limit: int = Field(2, ge=1, description="checkpoints kept: the latest ones; the best one besides")
    metric_for_best_model: str = Field(
        "loss", min_length=1, description="figure of evaluation that tells the best checkpoint, where eval_steps is set"
    )
    load_best_model_at_end: bool = Field(
        False, description="end with the best checkpoint's weights, of those at the target sparsity"
    )
    batching: Literal["padded", "bucketed", "packed"] = Field(
        "bucketed",
        description="padded: any lengths together; bucketed: similar ones, so that little is padding; packed (teach, "
        "prune): any together without padding, several sequences in a row",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, a third more time")
    torch_compile: bool = Field(False, description="compile the transformer layers; pays for long runs")
    fsdp: bool = Field(
        False, description="of several processes each holds a part of weights, gradients and optimizer (FSDP2), not all"
    )
    fsdp_reshard_after_forward: bool = Field(
        True, description="with fsdp: gather a layer's weights again for the backward pass; less memory, more to send"
    )
    dataloader_num_workers: int = Field(0, ge=0, description="processes that prepare batches")
    report_to: list[str] = Field(default_factory=list, description="trackers of transformers' Trainer: tensorboard ...")

    @field_validator("num_train_epochs")
    @classmethod
    def _one_length(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("max_steps") is not None:
            raise ValueError(f"{value} is given beside max_steps = {info.data['max_steps']}; allowed: one of the two")
        return value

    @field_validator("load_best_model_at_end")
    @classmethod
    def _best_is_saved(cls, value: bool, info: ValidationInfo) -> bool:
        evaluated, saved = info.data.get("eval_steps"), info.data.get("save_steps")
        if value and saved is not None and (evaluated is None or saved % evaluated):
            raise ValueError(
                f"is true, but eval_steps is {evaluated} and save_steps is {saved}; set eval_steps, and save_steps to "
                "a multiple of it, so that what is saved was evaluated"
            )
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
    """Transformers' arguments for `config`; the rewinding schedules are the trainer's own business.

    A process uses one device, also where it sees more; `fsdp`, which is the trainer's business too, is left out of a
    run of one process. Both with a warning.

    Raises:
        ConfigurationError: a tracker of `report_to` is unknown or not installed.
    """
    import torch
    from transformers import TrainingArguments

    from pruneofa.ranks import join
    from pruneofa.training.rewinding import REWINDING_SCHEDULES
    from pruneofa.training.trackers import check_trackers
    from pruneofa.training.trainer.upstream import use_one_device

    check_trackers(config.report_to)
    join()
    library_schedule = "linear" if config.lr_scheduler_type in REWINDING_SCHEDULES else config.lr_scheduler_type
    length: dict[str, Any] = (
        {"max_steps": config.max_steps}
        if config.max_steps is not None
        else {"num_train_epochs": 3.0 if config.num_train_epochs is None else config.num_train_epochs}
    )
    arguments = TrainingArguments(
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
        metric_for_best_model=None if config.eval_steps is None else config.metric_for_best_model,
        load_best_model_at_end=config.load_best_model_at_end,
        include_num_input_tokens_seen="non_padding",
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
    if arguments.n_gpu > 1:
        logger.warning(
            "%d GPUs are there, and this process uses one; start one process for each: torchrun --nproc_per_node %d "
            "-m pruneofa ...",
            arguments.n_gpu,
            arguments.n_gpu,
        )
        use_one_device(arguments)
    if config.fsdp and not uses_fsdp(config):
        logger.warning("fsdp is left out: there is one process only, and nothing to split the model over (torchrun)")
    return arguments


def uses_fsdp(config: TrainingConfig) -> bool:
    """Whether `config` comes to FSDP2 in this run: there must be several processes."""
    from pruneofa.ranks import world_size

    return config.fsdp and world_size() > 1

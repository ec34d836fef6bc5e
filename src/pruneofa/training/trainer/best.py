"""Which checkpoint was the best: kept beside the latest ones, and loaded at the end where that is asked for."""

import logging
from pathlib import Path
from typing import Any

from pruneofa.errors import ConfigurationError
from pruneofa.sparsity.pruner import Pruner
from pruneofa.training.trainer import checkpoints
from pruneofa.training.trainer.upstream import AdaptedTrainer

logger = logging.getLogger(__name__)


class BestCheckpointTrainer(AdaptedTrainer):
    """A Trainer whose best checkpoint is one that exists, is as sparse as was asked, and never costs the last one.

    The library takes any evaluation for the best, also one after which nothing was saved; and while a model is being
    pruned an earlier, denser one would always win.
    """

    pruner: Any
    state: Any

    @property
    def best_checkpoint(self) -> Path | None:
        """The best one that was saved; also after the run's folder was moved."""
        if not self.state.best_global_step:
            return None
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
        return folder if folder.is_dir() else None

    def is_best(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether what is about to be saved is the best so far, at the target sparsity."""
        if not self.control.should_save or not self._at_target():
            return False
        wanted = self.args.metric_for_best_model
        if wanted is not None and f"eval_{wanted.removeprefix('eval_')}" not in metrics:
            known = ", ".join(sorted(name.removeprefix("eval_") for name in metrics))
            raise ConfigurationError(
                f"metric_for_best_model is {wanted!r}, which evaluation does not give; allowed here: {known}"
            )
        return super().is_best(metrics, trial)

    def _at_target(self) -> bool:
        return not isinstance(self.pruner, Pruner) or self.pruner.completed_steps >= self.pruner.config.end_step

    def read_best(self) -> None:
        """Weights of the best checkpoint, and the masks that belong to them."""
        best = Path(self.state.best_model_checkpoint)
        problem = checkpoints.fault(best)
        if problem is not None:
            logger.warning("the best checkpoint %s is damaged (%s); the last step's model is kept", best, problem)
            return
        logger.info(
            "loading the best checkpoint %s (%s %.4f)", best, self.args.metric_for_best_model, self.state.best_metric
        )
        self._load_best_weights(best)
        self._load_pruner(best)

    def _load_best_weights(self, folder: Path) -> None:
        """Take the weights of the best checkpoint, which is in `folder`."""
        super().read_best()

    def _load_pruner(self, folder: Path) -> None:
        """Continue the pruner, where there is one, from a checkpoint."""

    def finish_training(self, *args: Any, **kwargs: Any) -> Any:
        """As the library's, which deletes no checkpoint here: `checkpoints.rotate` does."""
        # Of a limit of one the library would keep the best checkpoint and delete the last.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super().finish_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

"""`pruneofa`, but its second process is killed within the fifth step of pruning when it is started the first time."""

import os
import signal
from typing import Any

from pruneofa.cli.main import main
from pruneofa.training.trainer.callback import SparseTrainingCallback

_step_end = SparseTrainingCallback.on_step_end


def _deadly(callback: SparseTrainingCallback, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
    first_start = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first_start and os.environ["RANK"] == "1" and state.global_step == 5 and "/prune/" in args.output_dir:
        os.kill(os.getpid(), signal.SIGKILL)
    _step_end(callback, args, state, control, **kwargs)


if __name__ == "__main__":
    SparseTrainingCallback.on_step_end = _deadly  # type: ignore[method-assign]
    main()

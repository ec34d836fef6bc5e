"""All ranks hold the same masks: compared by hash at every re-selection."""

import torch.distributed as dist

from pruneofa.errors import PruneofaError
from pruneofa.sparsity.masks import MaskSet


class MaskMismatchError(PruneofaError, RuntimeError):
    """Two ranks of one run selected different masks."""


def check_ranks_agree(masks: MaskSet, step: int) -> None:
    """Compare the masks of all ranks; nothing to do outside `torch.distributed`.

    Sharded masks are compared as a whole too: copies of shards (HSDP) and ranks at different steps are found out.

    Raises:
        MaskMismatchError: on every rank, when a rank's masks differ from those of rank 0.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    digests: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(digests, f"{step} {masks.digest()}")
    differing = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if differing:
        raise MaskMismatchError(
            f"step {step}: the masks of ranks {differing} differ from those of rank 0, so their weights have drifted "
            "apart; wrap the model with DDP before training, and start all ranks from the same weights"
        )

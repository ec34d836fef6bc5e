"""`pruneofa export`: a model folder or compressed file as one ONNX file, compared with PyTorch before it is written."""

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.errors import CheckpointError
from pruneofa.export.exporter import onnx_model, write_onnx
from pruneofa.export.heads import HEADS, Exportable
from pruneofa.export.parity import Parity, measure_parity
from pruneofa.export.runtime import OnnxModel
from pruneofa.models.loading import model_class
from pruneofa.models.opened import OpenedModel, open_model
from pruneofa.quantization.qat import prepare_from_state

__all__ = ["ExportSummary", "export_model"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSummary:
    """What `export_model` wrote.

    Attributes:
        path: The file.
        bytes_written: Its size.
        int8: Whether it computes on int8 weights.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        parity: How far ONNX Runtime's answers are from PyTorch's; None where they were not compared.
    """

    path: Path
    bytes_written: int
    int8: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parity: Parity | None


def export_model(
    path: str,
    output: str | Path,
    *,
    pooling: str | None = None,
    normalize: bool = False,
    verify: bool | None = None,
) -> ExportSummary:
    """Write the ONNX file of a model.

    Args:
        path: A model folder, a hub name, or a compressed file.
        output: The file to write; it appears whole or not at all.
        pooling: "mean" or "cls": one vector for each text in place of the head's answers.
        normalize: Scale that vector to length 1.
        verify: Compare ONNX Runtime's answers with PyTorch's first; None: where onnxruntime is installed.

    Raises:
        CheckpointError: The model is missing or damaged; the graph's answers are not the model's.
        ConfigurationError: The model is of a kind that can't be exported.
    """
    opened = open_model(path)
    model = _load(opened, pooling)
    state = opened.quantization()
    exported = onnx_model(model, state, pooling=pooling, normalize=normalize)
    parity = None
    if verify is None:
        verify = importlib.util.find_spec("onnxruntime") is not None
        if not verify:
            logger.warning("onnxruntime is not installed, so the file is not compared with PyTorch")
    if verify:
        reference = model if state is None else prepare_from_state(model, state)
        parity = _compare(Exportable(reference, pooling, normalize).eval(), exported.SerializeToString())
        if not parity.fits(int8=state is not None):
            raise CheckpointError(
                f"{output}: ONNX Runtime's answers differ from PyTorch's by up to {parity.max_error:.3g} (largest "
                f"value {parity.largest:.3g}), so the file was not written; report this, or write it with --no-verify"
            )
    written = write_onnx(exported, output)
    return ExportSummary(
        path=written,
        bytes_written=written.stat().st_size,
        int8=state is not None,
        inputs=tuple(value.name for value in exported.graph.input),
        outputs=tuple(value.name for value in exported.graph.output),
        parity=parity,
    )


def _load(opened: OpenedModel, pooling: str | None) -> Any:
    """The plain model; every weight that goes into the graph must come from its files."""
    auto_class = model_class(opened.config())
    has_head = any(auto_class.__name__.endswith(ending) for ending in HEADS)
    return opened.float_model(auto_class, head_is_trained=has_head and pooling is None).eval()


def _compare(reference: Exportable, content: bytes) -> Parity:
    config: Any = reference.model.config
    pad = getattr(config, "pad_token_id", None) or 0
    return measure_parity(reference, OnnxModel(content), longest_sequence(config), config.vocab_size, pad)

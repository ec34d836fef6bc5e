"""`pruneofa export`: a model folder or compressed file as one ONNX file, compared with PyTorch before it is written."""

import importlib.util
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pruneofa.architectures.positions import longest_sequence
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.export.exporter import onnx_model, write_onnx
from pruneofa.export.heads import HEADS, Exportable
from pruneofa.export.parity import Parity, measure_parity
from pruneofa.export.runtime import OnnxModel
from pruneofa.export.sentences import SentenceVector
from pruneofa.folder.sentence_modules import (
    POOLING_MODES,
    Normalize,
    Pooling,
    SentenceModules,
    read_sentence_modules,
)
from pruneofa.folder.tokenizer_files import gives_token_types
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
        needs: What whoever runs the file must do himself, in sentences.
    """

    path: Path
    bytes_written: int
    int8: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parity: Parity | None
    needs: tuple[str, ...]


def export_model(
    path: str,
    output: str | Path,
    *,
    pooling: str | None = None,
    normalize: bool | None = None,
    verify: bool | None = None,
) -> ExportSummary:
    """Write the ONNX file of a model.

    Args:
        path: A model folder, a hub name, or a compressed file.
        output: The file to write; it appears whole or not at all.
        pooling: One of `POOLING_MODES`, such as "mean": one vector for each text in place of the head's answers;
            "none": the head's answers, or the tokens' states. None: of a bare encoder in a folder of
            sentence-transformers the vector that its modules make, else "none".
        normalize: Scale that vector to length 1; None: as the folder's modules say.
        verify: Compare ONNX Runtime's answers with PyTorch's first; None: where onnxruntime is installed.

    Raises:
        CheckpointError: The model is missing or damaged; the graph's answers are not the model's.
        ConfigurationError: The model is of a kind that can't be exported.
    """
    opened = open_model(path)
    sentence, rules = _sentence(opened, pooling, normalize)
    model = _load(opened, sentence is not None)
    token_types = gives_token_types(opened)
    state = opened.quantization()
    exported = onnx_model(model, state, sentence=sentence, token_types=token_types)
    parity = None
    if verify is None:
        verify = importlib.util.find_spec("onnxruntime") is not None
        if not verify:
            logger.warning("onnxruntime is not installed, so the file is not compared with PyTorch")
    if verify:
        reference = model if state is None else prepare_from_state(model, state)
        exportable = Exportable(reference, sentence=sentence, token_types=token_types)
        parity = _compare(exportable.eval(), exported.SerializeToString())
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
        needs=_needs(opened, rules, int8=state is not None),
    )


def _sentence(
    opened: OpenedModel, pooling: str | None, normalize: bool | None
) -> tuple[SentenceVector | None, SentenceModules | None]:
    """What makes a text's vector, and what the folder says of it; None where the graph gives no vector."""
    if pooling is not None and pooling != "none" and pooling not in POOLING_MODES:
        raise ConfigurationError(f"pooling is {pooling!r}, allowed are none, {', '.join(POOLING_MODES)}")
    has_head = any(model_class(opened.config()).__name__.endswith(ending) for ending in HEADS)
    rules = None
    if pooling != "none" and not (pooling is None and has_head):
        rules = read_sentence_modules(opened)
    if rules is None and pooling in (None, "none"):
        if normalize:
            raise ConfigurationError("normalize needs pooling: only a text's one vector is scaled to length 1")
        return None, None
    rules = rules or SentenceModules()
    if pooling is not None:
        rules = replace(rules, pooling=Pooling((pooling,)))
    if normalize is not None:
        steps = tuple(step for step in rules.steps if not isinstance(step, Normalize))
        rules = replace(rules, steps=(*steps, Normalize()) if normalize else steps)
    return SentenceVector(rules, opened), rules


def _needs(opened: OpenedModel, rules: SentenceModules | None, *, int8: bool) -> tuple[str, ...]:
    """What whoever runs the file must do himself, since a graph does not hold it."""
    found = []
    if int8:
        found.append(
            'ONNX Runtime on x86 without VNNI needs the session option "session.x64quantprecision" = "1"; without it '
            "int8 products saturate and answers are wrong"
        )
    if rules is None:
        return tuple(found)
    if rules.max_length is not None:
        found.append(f"texts are to be cut to {rules.max_length} tokens (sentence_bert_config.json)")
    if rules.lower_case:
        found.append("texts are to be lowered (sentence_bert_config.json)")
    if rules.prompt:
        found.append(f"{rules.prompt!r} is to be put before each text (config_sentence_transformers.json)")
    if not rules.pooling.include_prompt:
        found.append("a prompt's tokens count in this graph's pooling, while the folder leaves them out")
    return tuple(found)


def _load(opened: OpenedModel, embeds: bool) -> Any:
    """The plain model; every weight that goes into the graph must come from its files."""
    auto_class = model_class(opened.config())
    has_head = any(auto_class.__name__.endswith(ending) for ending in HEADS)
    return opened.float_model(auto_class, head_is_trained=has_head and not embeds).eval()


def _compare(reference: Exportable, content: bytes) -> Parity:
    config: Any = reference.model.config
    pad = getattr(config, "pad_token_id", None) or 0
    return measure_parity(reference, OnnxModel(content), longest_sequence(config), config.vocab_size, pad)

"""One model in the forms in which the engine and each peer are quickest with it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pruneofa.architectures.families import family_of
from pruneofa.architectures.positions import longest_sequence
from pruneofa.benchmarking.competition import ModelFacts
from pruneofa.benchmarking.contestants import ENGINE, Contestant, Form
from pruneofa.benchmarking.nncf_model import has_nncf, quantize_with_nncf
from pruneofa.checkpoint.decompress import decompress
from pruneofa.checkpoint.inspection import Inspection, inspect_model
from pruneofa.checkpoint.manifest import read_manifest
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.export.exporter import onnx_variants, write_onnx
from pruneofa.export.heads import HEADS
from pruneofa.models.folder_compression import weight_names
from pruneofa.models.loading import model_class
from pruneofa.models.opened import CompressedFile, OpenedModel, open_model
from pruneofa.quantization.parameters import QuantizedState

__all__ = ["PreparedModel", "dense_contestants", "prepare_model"]

logger = logging.getLogger(__name__)

_ENCODER_OUTPUTS = ("last_hidden_state",)


@dataclass(frozen=True)
class PreparedModel:
    """A model, ready to be timed.

    Attributes:
        contestants: The engine first, then the peers.
        facts: What inputs must fit.
        description: For the document: name, sparsity, products for a token and for a pair of tokens, and those of them
            that the engine does for first tokens alone.
    """

    contestants: tuple[Contestant, ...]
    facts: ModelFacts
    description: dict[str, Any]


def prepare_model(
    path: str, peers: Iterable[str], work_dir: Path, *, name: str | None = None, kernel: str | None = None
) -> PreparedModel:
    """Make the files that the peers need; what an earlier call has left in `work_dir` is taken as it is.

    An int8 model whose attention products are int8 too is given to the peers with these in float, which is quicker
    with all of them: in ONNX the integer form takes several operators in place of one.

    Args:
        path: A compressed file or a model folder.
        peers: Names of the peers.
        work_dir: Where their files go; of this model alone.
        name: Of the model; None: that of its file or folder.
        kernel: The engine's kernel set; None: the best.

    Raises:
        CheckpointError: The model is missing or damaged.
        ConfigurationError: The engine has no head as the model has, so both would not compute the same.
    """
    if not Path(path).exists():
        raise CheckpointError(f"model {path!r}: there is no such file or folder; give a .pofa file or a model folder")
    work_dir.mkdir(parents=True, exist_ok=True)
    opened = CompressedFile(path) if Path(path).is_file() else open_model(path)
    config = opened.config()
    outputs = _outputs(config)
    state = opened.quantization()
    makers = {"onnxruntime": _onnxruntime_forms, "openvino": _openvino_forms}
    forms = {}
    for peer in peers:
        if peer in makers:
            files = _onnx_files(opened, config, state, work_dir)
            forms[peer] = makers[peer](files, work_dir, config)
        else:
            forms[peer] = _torch_forms(_folder(path, work_dir), config, outputs, int8=state is not None)
    settings = {} if kernel is None else {"kernel": kernel}
    own = Form(ENGINE, "float" if state is None else "int8", str(path), settings)
    label = name or Path(path).name
    contestants = [Contestant(ENGINE, (own,), label), *(Contestant(peer, forms[peer], label) for peer in forms)]
    return PreparedModel(
        tuple(contestants),
        ModelFacts(config.vocab_size, longest_sequence(config)),
        _describe(path, label, config, state),
    )


def dense_contestants(folder: str, work_dir: Path) -> tuple[Contestant, ...]:
    """A plain model in ONNX Runtime, in float32 and in int8.

    Args:
        folder: A model folder.
        work_dir: Where the files go; of this model alone.

    Raises:
        CheckpointError, ConfigurationError: As `prepare_model`.
    """
    opened = open_model(folder)
    config = opened.config()
    _outputs(config)
    work_dir.mkdir(parents=True, exist_ok=True)
    path = _onnx_files(opened, config, None, work_dir)["float"]
    return (
        Contestant("onnxruntime", (Form("onnxruntime", "float32", str(path)),), "dense"),
        Contestant("onnxruntime", (Form("onnxruntime", "int8, dynamic", str(_dynamic_int8(path))),), "dense int8"),
    )


def _dynamic_int8(path: Path) -> Path:
    """ONNX Runtime's own dynamic quantization of a float ONNX file: int8 weights, activations measured at run time."""
    target = path.with_name("dynamic.onnx")
    if not target.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logger.info("quantizing with ONNX Runtime (dynamic)")
        root = logging.getLogger()  # it is told there that the model should be pre-processed, for models unlike these
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            partial = target.with_name("dynamic.partial.onnx")
            quantize_dynamic(path, partial, per_channel=True, weight_type=QuantType.QInt8)
            partial.replace(target)
        finally:
            root.setLevel(level)
    return target


def _outputs(config: Any) -> tuple[str, ...]:
    """Names of the outputs that are compared.

    Raises:
        ConfigurationError: A head that the engine does not run.
    """
    architecture = (getattr(config, "architectures", None) or [""])[0]
    for ending, (head, outputs) in HEADS.items():
        if str(architecture).endswith(ending):
            if head == "masked_lm":
                break
            return outputs
    else:
        if str(architecture).endswith("Model"):
            return _ENCODER_OUTPUTS
    raise ConfigurationError(
        f"model is a {architecture or 'model of no named class'}, whose head the engine does not run, so the peers "
        "would compute more than it; allowed are models for classification, question answering and tokens, and bare "
        "encoders"
    )


def _folder(path: str, work_dir: Path) -> Path:
    """The model folder that PyTorch's worker loads as its users do, so that its loading is timed as theirs."""
    if not Path(path).is_file():
        return Path(path)
    folder = work_dir / "model"
    return folder if folder.exists() else decompress(path, folder)


def _onnx_files(opened: OpenedModel, config: Any, state: QuantizedState | None, work_dir: Path) -> dict[str, Path]:
    """The float graph and, of an int8 model, the one with its grids."""
    files = {"float": work_dir / "float.onnx"}
    states: dict[str, QuantizedState | None] = {"float": None}
    if state is not None:
        files["int8"] = work_dir / "int8.onnx"
        states["int8"] = replace(state, config=state.config.model_copy(update={"attention_products": False}))
    if not all(file.exists() for file in files.values()):
        logger.info("exporting to ONNX")
        model = opened.float_model(model_class(config), head_is_trained=True).eval()
        for file, variant in zip(files.values(), onnx_variants(model, list(states.values())), strict=True):
            write_onnx(variant, file)
    return files


def _onnxruntime_forms(files: dict[str, Path], work_dir: Path, config: Any) -> tuple[Form, ...]:
    if "int8" not in files:
        return (Form("onnxruntime", "float32", str(files["float"])),)
    return (
        Form("onnxruntime", "int8, Q/DQ", str(files["int8"])),
        Form("onnxruntime", "int8, dynamic", str(_dynamic_int8(files["float"]))),
    )


def _openvino_forms(files: dict[str, Path], work_dir: Path, config: Any) -> tuple[Form, ...]:
    if "int8" not in files:
        float_file = str(files["float"])
        return (
            Form("openvino", "bfloat16", float_file, {"precision": "bf16"}),
            Form("openvino", "float32", float_file, {"precision": "f32"}),
        )
    forms = [Form("openvino", "int8, Q/DQ", str(files["int8"]))]
    if has_nncf():
        target = work_dir / "nncf.xml"
        if not target.exists():
            logger.info("quantizing with NNCF")
            quantize_with_nncf(files["float"], target, config.vocab_size, longest_sequence(config))
        forms.append(Form("openvino", "int8, NNCF", str(target)))
    return tuple(forms)


def _torch_forms(folder: Path, config: Any, outputs: tuple[str, ...], *, int8: bool) -> tuple[Form, ...]:
    """PyTorch computes an int8 model's rounded weights in float."""
    settings = {"architecture": model_class(config).__name__, "outputs": list(outputs)}
    return tuple(
        Form("torch", f"{dtype}, eager", str(folder), {**settings, "dtype": dtype}) for dtype in ("float32", "bfloat16")
    )


def _first_tokens_only(inspection: Inspection, config: Any) -> dict[str, int] | None:
    """Of a head on the first token, the products of the last layer that the engine does for that token alone.

    That is all but keys and values.
    """
    if not str((config.architectures or [""])[0]).endswith("ForSequenceClassification"):
        return None
    last = f"layer.{config.num_hidden_layers - 1}."
    family = family_of(config.model_type)
    kept: tuple[str, ...] = tuple(f"{family.module(role)}.weight" for role in ("k", "v"))
    found = [
        tensor
        for tensor in inspection.tensors
        if tensor.role == "encoder" and last in tensor.name and not tensor.name.endswith(kept)
    ]
    return {
        "nonzero_products_per_token": sum(tensor.nonzero for tensor in found),
        "products_per_pair_of_tokens": 2 * config.hidden_size,
    }


def _describe(path: str, name: str, config: Any, state: QuantizedState | None) -> dict[str, Any]:
    names: tuple[list[str], ...] = ()
    if Path(path).is_dir() and read_manifest(path) is None:
        names = weight_names(path)
    inspection = inspect_model(path, *names)
    return {
        "name": name,
        "type": config.model_type,
        "int8": state is not None,
        "attention_products": "int8" if state is not None and state.config.attention_products else "float",
        "sparsity": inspection.encoder_sparsity,
        "products_per_token": inspection.encoder_parameters,
        "nonzero_products_per_token": inspection.encoder_nonzero,
        "products_per_pair_of_tokens": 2 * config.num_hidden_layers * config.hidden_size,
        "first_tokens_only": _first_tokens_only(inspection, config),
        "bytes": inspection.bytes_total,
    }

"""modules.json of sentence-transformers: how token states become one vector for a text."""

import json
from dataclasses import dataclass
from typing import Any

from pruneofa.checkpoint.encoder_place import checked_place
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.errors import CheckpointError
from pruneofa.folder.files import MAX_JSON_BYTES, MODULES_NAME, ModelFiles, read_object

__all__ = ["POOLING_MODES", "Dense", "Normalize", "Pooling", "SentenceModules", "Truncate", "read_sentence_modules"]

POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""Ways from the states of a text's tokens to one vector; of several the vectors stand one behind the other."""

ACTIVATIONS = {"Identity": "none", "Tanh": "tanh", "Sigmoid": "sigmoid", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"}
"""Name of a module of torch -> what it is called here."""

_OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta")
)
_PACKAGE = "sentence_transformers."


@dataclass(frozen=True)
class Pooling:
    """`modes` as of `POOLING_MODES`; `include_prompt`: whether a prompt's tokens count."""

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True)
class Dense:
    """A Linear on the vector: weights in `file`, then `activation`; `residual`: the vector is added to the result."""

    file: str
    activation: str
    residual: bool


@dataclass(frozen=True)
class Normalize:
    """Division by the vector's length."""


@dataclass(frozen=True)
class Truncate:
    """The first `size` numbers of the vector alone (Matryoshka embeddings)."""

    size: int


@dataclass(frozen=True)
class SentenceModules:
    """What a folder says of a text's vector.

    Attributes:
        pooling: From tokens to a vector.
        steps: What follows, in order.
        max_length: Longest text in tokens, where it says so; it wins over the tokenizer's.
        lower_case: Whether texts are lowered before anything else.
        prompt: What is put before each text where the caller names nothing else.
    """

    pooling: Pooling = Pooling()
    steps: tuple[Dense | Normalize | Truncate, ...] = ()
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""

    @property
    def has_dense(self) -> bool:
        """Whether a Dense module changes the vector's size."""
        return any(isinstance(step, Dense) for step in self.steps)


def read_sentence_modules(files: ModelFiles) -> SentenceModules | None:
    """What modules.json and the files that it names say; None for a folder without modules.json.

    Raises:
        CheckpointError: A file is damaged, or a module is of a kind that is not known here; the text names it.
    """
    content = files.file(MODULES_NAME)
    if content is None:
        return None
    where = f"{files.path}: {MODULES_NAME}"
    modules = parse_json(content, where, MAX_JSON_BYTES)
    if not isinstance(modules, list) or not modules or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{where}: holds {type(modules).__name__}, a list of modules is needed; save it again")
    pooling: Pooling | None = None
    steps: list[Dense | Normalize | Truncate] = []
    transformer: str | None = None
    for number, module in enumerate(modules):
        kind, folder = _kind(module, where), _folder(module, files)
        if number == 0 and kind == "Transformer":
            transformer = folder
        elif kind == "Pooling" and pooling is None and not steps and transformer is not None:
            pooling = _pooling(files, folder)
        elif kind == "Normalize" and pooling is not None:
            _refuse_other_vectors(files, folder)
            steps.append(Normalize())
        elif kind == "Dense" and pooling is not None:
            _refuse_other_vectors(files, folder)
            steps.append(_dense(files, folder))
        elif kind != "Dropout":  # which does nothing outside training
            raise CheckpointError(
                f"{where}: module {number} ({json.dumps(module.get('path'))[:80]}) is a {kind}; known are a "
                "Transformer, then Pooling, then any of Dense, Normalize and Dropout; compute such embeddings with "
                "sentence-transformers"
            )
    if (size := _truncated_size(files)) is not None:
        steps.append(Truncate(size))
    settings = _transformer_settings(files, transformer or "")
    return SentenceModules(
        pooling=pooling or Pooling(),
        steps=tuple(steps),
        max_length=_max_length(settings, files),
        lower_case=bool(settings.get("do_lower_case", False)),
        prompt=_prompt(files),
    )


def _kind(module: dict[str, Any], where: str) -> str:
    name = module.get("type")
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{where}: a module's type is {name!r:.80}, allowed is a class of sentence-transformers")
    return name.rpartition(".")[2] if name.startswith(_PACKAGE) else name[:120]


def _folder(module: dict[str, Any], files: ModelFiles) -> str:
    path = module.get("path", "")
    if not isinstance(path, str):
        raise CheckpointError(f"{files.path}: {MODULES_NAME}: path is {path!r:.80}, allowed is the name of a folder")
    return f"{checked_place(path, str(files.path))}/" if path else ""


def _pooling(files: ModelFiles, folder: str) -> Pooling:
    name = f"{folder}config.json"
    settings = read_object(files, name)
    if settings is None:
        raise CheckpointError(f"{files.path}: holds no {name}, which {MODULES_NAME} names; copy the whole folder")
    modes = settings.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _OLD_MODES.items() if settings.get(key)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not modes or not all(mode in POOLING_MODES for mode in modes):
        raise CheckpointError(
            f"{files.path}: {name}: pooling_mode is {modes!r:.80}, allowed are {', '.join(POOLING_MODES)}"
        )
    return Pooling(tuple(modes), bool(settings.get("include_prompt", True)))


def _dense(files: ModelFiles, folder: str) -> Dense:
    name = f"{folder}config.json"
    settings = read_object(files, name)
    if settings is None:
        raise CheckpointError(f"{files.path}: holds no {name}, which {MODULES_NAME} names; copy the whole folder")
    weights = f"{folder}model.safetensors"
    if files.file(weights) is None:
        pickled = files.file(f"{folder}pytorch_model.bin") is not None
        what = "pytorch_model.bin, a pickle, which is not read" if pickled else f"no {weights}"
        raise CheckpointError(
            f"{files.path}: the Dense module {folder.rstrip('/')!r} has {what}; load and save the model with "
            "sentence-transformers, which writes model.safetensors"
        )
    # Only classes of torch are trusted by sentence-transformers; for others it takes its default.
    function = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    known = ACTIVATIONS.get(str(function).rpartition(".")[2])
    if not str(function).startswith("torch."):
        known = "tanh"
    if known is None:
        raise CheckpointError(
            f"{files.path}: {name}: activation_function is {function!r:.80}, known are {', '.join(ACTIVATIONS)}"
        )
    return Dense(weights, known, bool(settings.get("use_residual", False)))


def _refuse_other_vectors(files: ModelFiles, folder: str) -> None:
    """Dense and Normalize may also work on tokens, as models with a vector for each token do."""
    settings = read_object(files, f"{folder}config.json") or {}
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key) not in (None, "sentence_embedding"):
            raise CheckpointError(
                f"{files.path}: {folder}config.json: {key} is {settings[key]!r:.80}, known is 'sentence_embedding': "
                "models with a vector for each token are not run here"
            )


def _transformer_settings(files: ModelFiles, folder: str) -> dict[str, Any]:
    for name in _TRANSFORMER_CONFIGS:
        settings = read_object(files, folder + name)
        if settings:
            return settings
    return {}


def _max_length(settings: dict[str, Any], files: ModelFiles) -> int | None:
    length = settings.get("max_seq_length")
    for key in ("processor_kwargs", "tokenizer_args"):
        arguments = settings.get(key)
        if isinstance(arguments, dict) and "model_max_length" in arguments:
            length = arguments["model_max_length"]
    if length is None:
        return None
    if type(length) is not int or length < 1:
        raise CheckpointError(
            f"{files.path}: sentence_bert_config.json: max_seq_length is {length!r:.80}, allowed is a whole number "
            "from 1, or null"
        )
    return length


def _truncated_size(files: ModelFiles) -> int | None:
    """What `truncate_dim` says: sentence-transformers cuts the vector behind all modules."""
    name = "config_sentence_transformers.json"
    size = (read_object(files, name) or {}).get("truncate_dim")
    if size is None:
        return None
    if type(size) is not int or size < 1:
        raise CheckpointError(
            f"{files.path}: {name}: truncate_dim is {size!r:.80}, allowed is a whole number from 1, or null"
        )
    return size


def _prompt(files: ModelFiles) -> str:
    name = "config_sentence_transformers.json"
    settings = read_object(files, name) or {}
    chosen = settings.get("default_prompt_name")
    if chosen is None:
        return ""
    prompts = settings.get("prompts")
    prompt = prompts.get(chosen) if isinstance(prompts, dict) else None
    if not isinstance(prompt, str):
        raise CheckpointError(
            f"{files.path}: {name}: default_prompt_name is {chosen!r:.80}, which is none of its prompts; correct it"
        )
    return prompt

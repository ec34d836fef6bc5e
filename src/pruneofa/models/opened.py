"""A saved model, opened: one face for a model folder, a hub name, a package reference and a compressed file."""

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor

from pruneofa.architectures.linears import encoder_linears
from pruneofa.checkpoint.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from pruneofa.checkpoint.model_folder import QUANTIZATION_NAME, read_beside
from pruneofa.checkpoint.reader import read_pofa
from pruneofa.checkpoint.strict_json import parse_json
from pruneofa.data.sources.packaged import resolve_model
from pruneofa.errors import CheckpointError, first_line
from pruneofa.folder.files import FolderFiles, encoder_folder
from pruneofa.quantization.parameters import QuantizedState
from pruneofa.quantization.qat import prepare_from_state
from pruneofa.quantization.state import MAX_BYTES, computes_in_int8, keep_pattern, parse_quantization

__all__ = ["CompressedFile", "FolderOrHubModel", "OpenedModel", "open_model", "without_weights"]

CONFIG_NAME = "config.json"
MAX_CONFIG_BYTES = 2**24

# The types that numpy lacks; the file's reader gives their bits in an integer type of the same size.
_BITS_ONLY = {
    "bfloat16": torch.bfloat16,
    "float8_e4m3": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e8m0": torch.float8_e8m0fnu,
}


# What transformers raises, with whatever a hostile or careless config or tokenizer file holds.
_BAD_FILES = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, StrictDataclassError)


def open_model(name_or_path: str) -> "OpenedModel":
    """Open a saved model; nothing is read yet but what tells that it is there.

    Args:
        name_or_path: a model folder, a hub name, `package:MODULE/folder`, or a compressed file (`*.pofa`).

    Raises:
        CheckpointError, DataError: there is no such model (see `resolve_model`), or the file is damaged.
    """
    return CompressedFile(name_or_path) if name_or_path.endswith(".pofa") else FolderOrHubModel(name_or_path)


class OpenedModel(ABC):
    """What a saved model holds, each part read when it is asked for. Made by `open_model`.

    Attributes:
        name: as it was asked for; error messages name it.
        path: the same, as a path.
    """

    name: str
    path: Path

    @abstractmethod
    def file(self, name: str) -> bytes | None:
        """Content of a file beside the weights, such as "tokenizer.json"; None where there is none of that name."""

    @abstractmethod
    def config(self) -> Any:
        """The config of transformers.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """

    @abstractmethod
    def tokenizer(self) -> Any:
        """The fast tokenizer.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """

    @abstractmethod
    def _from_pretrained(self, auto_class: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
        """A float32 model, and what `from_pretrained` reports of it."""

    def manifest(self) -> Manifest | None:
        """What the stage that saved the model recorded (`pruneofa.json`); None where no stage did.

        Raises:
            CheckpointError: it is damaged.
        """
        content, where = self.file(MANIFEST_NAME), self._place(MANIFEST_NAME)
        return None if content is None else parse_manifest(parse_json(content, where, MAX_MANIFEST_BYTES), where)

    def quantization(self) -> QuantizedState | None:
        """The grids of a model that computes in int8; None of one that computes in float.

        Raises:
            CheckpointError: they are damaged.
        """
        content, where = self.file(QUANTIZATION_NAME), self._place(QUANTIZATION_NAME)
        int8 = content is not None and computes_in_int8(content, where)
        return parse_quantization(content, where) if int8 and content is not None else None

    def float_model(self, auto_class: Any, *, head_is_trained: bool = False, **settings: Any) -> Any:
        """The model in float32; of an int8 model with its rounded weights and its sparse pattern.

        Args:
            auto_class: one of transformers' Auto classes, or a model class of it.
            head_is_trained: every weight must come from the files; otherwise a head may start at random.
            **settings: entries of the model's config, such as `num_labels`; `ignore_mismatched_sizes` for weights that
                may start at random where the file has them in another size.

        Raises:
            CheckpointError: the model is missing, truncated or damaged, or lacks weights that it must have.
        """
        model = self._loaded(auto_class, head_is_trained, settings)
        content = self.file(QUANTIZATION_NAME)
        if content is not None:
            keep_pattern(model, content, self._place(QUANTIZATION_NAME))
        return model

    def model(self, auto_class: Any, *, head_is_trained: bool = False) -> Any:
        """The model as it computes: in float, or in the fake-quantized form of an int8 one, ranges frozen.

        Args:
            auto_class: as of `float_model`.
            head_is_trained: as of `float_model`.

        Raises:
            CheckpointError: as `float_model`, or weights and grids do not belong together.
        """
        state = self.quantization()
        if state is None:
            return self.float_model(auto_class, head_is_trained=head_is_trained)
        return prepare_from_state(self._loaded(auto_class, head_is_trained, {}), state).eval()

    def _loaded(self, auto_class: Any, head_is_trained: bool, settings: dict[str, Any]) -> Any:
        may_differ = settings.pop("ignore_mismatched_sizes", False)
        try:
            model, report = self._from_pretrained(auto_class, **settings)
        except (OSError, RuntimeError, SafetensorError, *_BAD_FILES) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"model {self.name!r} can't be loaded: {first_line(error)}; give a folder with config.json and an "
                "intact model.safetensors"
            ) from error
        if report["mismatched_keys"] and not may_differ:
            name, held, wanted = min((str(name), *map(tuple, shapes)) for name, *shapes in report["mismatched_keys"])
            raise CheckpointError(
                f"model {self.name!r}: {name} has the shape {held} in its weights, {wanted} by its config.json; "
                "correct the config (for a head: id2label, a name for each row), or give an intact model"
            )
        _refuse_random_weights(model, self.name, set(report["missing_keys"]), head_is_trained)
        return model

    def _place(self, file: str) -> str:
        return f"{self.name}: {file}"

    def _read_config(self, path: str | Path) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(path)
        except (OSError, *_BAD_FILES) as error:
            raise CheckpointError(
                f"model {self.name!r}: its config.json can't be read: {first_line(error)}; correct it, or give an "
                "intact model"
            ) from error

    def _read_tokenizer(self, path: str | Path) -> Any:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True)
        except (OSError, *_BAD_FILES) as error:
            if self.file("config.json") is not None:
                self._read_config(path)  # a broken config stops the tokenizer too, and is not its fault
            raise CheckpointError(
                f"model {self.name!r}: its tokenizer can't be loaded: {first_line(error)}; give a folder with an "
                "intact tokenizer.json"
            ) from error
        _check_tokenizer(tokenizer, self.name)
        return tokenizer


class FolderOrHubModel(OpenedModel):
    """A model whose files transformers finds by itself: a folder, also one inside a package, or a name on the hub."""

    def __init__(self, name_or_path: str) -> None:
        self.name = name_or_path
        self.path = Path(name_or_path)
        inner = encoder_folder(FolderFiles(name_or_path)) if Path(name_or_path).is_dir() else ""
        self._path = resolve_model(str(Path(name_or_path) / inner) if inner else name_or_path)

    def file(self, name: str) -> bytes | None:
        """As of `OpenedModel`; one of a name on the hub is fetched."""
        folder = Path(self._path)
        if not folder.is_dir():
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

            try:
                fetched = Path(hf_hub_download(self._path, name))
            except EntryNotFoundError as error:
                if not isinstance(error, LocalEntryNotFoundError):  # it says that the hub did not answer
                    return None
                raise self._unfetched(name, error) from error
            except OSError as error:
                raise self._unfetched(name, error) from error
            folder, name = fetched.parent, fetched.name
        found = read_beside(folder, name, MAX_BYTES)
        # Of a model whose encoder lies in a folder of its own, the rest lies above.
        return read_beside(self.path, name, MAX_BYTES) if found is None and self.path.is_dir() else found

    def _unfetched(self, name: str, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"model {self.name!r}: {name} can't be fetched: {first_line(error)}; check the network, and try again"
        )

    def config(self) -> Any:
        """As of `OpenedModel`."""
        return self._read_config(self._path)

    def tokenizer(self) -> Any:
        """As of `OpenedModel`."""
        return self._read_tokenizer(self._path)

    def _from_pretrained(self, auto_class: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
        model, report = auto_class.from_pretrained(
            self._path, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **settings
        )
        return model, report

    def _place(self, file: str) -> str:
        return str(Path(self._path) / file)


class CompressedFile(OpenedModel):
    """A compressed file; its weights go from the file's bytes into the model's memory.

    Args:
        path: the file.

    Raises:
        CheckpointError: it is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.path = Path(path)
        self._file = read_pofa(path)
        self._inner = ""
        self._inner = encoder_folder(self)

    def file(self, name: str) -> bytes | None:
        """As of `OpenedModel`; first where the encoder lies."""
        for place in dict.fromkeys((self._inner + name, name)):
            if place in self._file.files:
                return self._file.file(place)
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """Every weight, dense, of its logical type.

        Raises:
            CheckpointError: one is damaged.
        """
        tensors = {}
        for name in self._file.names:
            tensor = torch.from_numpy(self._file.tensor(name))
            bits_of = _BITS_ONLY.get(self._file.entry(name).dtype.name)
            tensors[name] = tensor if bits_of is None else tensor.view(bits_of)
        return tensors

    def config(self) -> Any:
        """As of `OpenedModel`."""
        return self._config()

    def tokenizer(self) -> Any:
        """As of `OpenedModel`.

        Transformers chooses a tokenizer's class and its settings from up to eight files, and takes them from a folder
        alone; so the small files, never the weights, go through one that is gone when this returns.
        """
        with tempfile.TemporaryDirectory() as temporary:
            for place in self._file.files:
                name = place.removeprefix(self._inner)
                if place.startswith(self._inner) and "/" not in name and not name.endswith(".safetensors"):
                    (Path(temporary) / name).write_bytes(self._file.file(place))
            tokenizer = self._read_tokenizer(temporary)
        tokenizer.name_or_path = self.name
        return tokenizer

    def _from_pretrained(self, auto_class: Any, **settings: Any) -> tuple[Any, dict[str, Any]]:
        config = self._config(**settings)
        # An Auto class asks whether the model's name is a folder, before it looks at the state dict: only a model's own
        # class takes none.
        model, report = type(without_weights(auto_class, config)).from_pretrained(
            None,
            config=config,
            state_dict=self.state_dict(),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        model.config.name_or_path = self.name
        return model, report

    def _config(self, **settings: Any) -> Any:
        from transformers import CONFIG_MAPPING

        content = self.file(CONFIG_NAME)
        if content is None:
            raise CheckpointError(f"{self.name}: holds no {CONFIG_NAME}; compress a folder that has one")
        values = parse_json(content, self._place(CONFIG_NAME), MAX_CONFIG_BYTES)
        try:
            return CONFIG_MAPPING[values["model_type"]].from_dict(values, name_or_path=self.name, **settings)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"model {self.name!r}: its config.json can't be read: {first_line(error)}") from error


def without_weights(auto_class: Any, config: Any) -> Any:
    """The model of a config, without memory for its weights.

    Args:
        auto_class: one of transformers' Auto classes, or a model class of it.
        config: a config of transformers.
    """
    with torch.device("meta"):
        return auto_class.from_config(config) if hasattr(auto_class, "from_config") else auto_class(config)


def _check_tokenizer(tokenizer: Any, name: str) -> None:
    """Refuse what transformers makes up where a folder has no vocabulary, and a length that nothing can be cut to."""
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise CheckpointError(
            f"model {name!r}: its tokenizer has no vocabulary, so every word would be unknown; give a folder with "
            "tokenizer.json or vocab.txt"
        )
    length = tokenizer.model_max_length
    if isinstance(length, bool) or not isinstance(length, int | float) or not length >= 1:
        raise CheckpointError(
            f"model {name!r}: tokenizer_config.json: model_max_length is {length!r:.80}, allowed is a whole number "
            "from 1; correct it, or leave it out"
        )


def _refuse_random_weights(model: Any, name: str, missing: set[str], head_is_trained: bool) -> None:
    """The library fills in what a file lacks with random numbers; that must not pass for a trained model."""
    encoder = [module for module in encoder_linears(model) if f"{module}.weight" in missing]
    if encoder:
        raise CheckpointError(
            f"model {name!r} lacks {len(encoder)} weights of its encoder, {encoder[0]}.weight among them; "
            "its config.json is of another model than its weights, or a file is incomplete: save or fetch it again"
        )
    if head_is_trained and missing:
        raise CheckpointError(
            f"model {name!r} has no trained {type(model).__name__} head ({', '.join(sorted(missing)[:3])} "
            "missing), so its answers would be random; give a model that was trained for this"
        )

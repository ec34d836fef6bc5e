"""From a saved model to the compiled one: every tensor is looked up, checked, packed and let go."""

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pruneofa.architectures.families import Family
from pruneofa.cores import MOST_THREADS, usable_cores
from pruneofa.engine.architecture import Dimensions, Head, dimensions_of, engine_family, head_of
from pruneofa.engine.grids import QuantizedGrids, read_grids
from pruneofa.engine.native import active_kernel, has_bfloat16
from pruneofa.engine.relative_positions import bias_by_distance
from pruneofa.engine.source import ModelSource
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.folder.files import CONFIG_NAME, MODULES_NAME, read_object
from pruneofa.native import native_module

__all__ = ["LoadedModel", "Precision", "load_model", "read_config"]

QUANTIZATION_NAME = "quantization.safetensors"
MAX_TOKENS = 2**15

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LoadedModel:
    """The compiled model, and what its configuration says that Python needs.

    Attributes:
        native: The compiled model.
        config: Its config.json.
        family: Its family.
        head: Its head.
        max_tokens: The longest sequence that its positions allow.
        padding_id: The padding token's id, where positions are numbered from it on; else None.
        vocabulary: Rows of its table of words.
    """

    native: Any
    config: dict[str, Any]
    family: Family
    head: Head
    max_tokens: int
    padding_id: int | None
    vocabulary: int


def read_config(source: ModelSource) -> dict[str, Any]:
    """The model's `config.json`.

    Raises:
        CheckpointError: Missing or malformed.
    """
    config = read_object(source, source.folder + CONFIG_NAME)
    if config is None:
        raise CheckpointError(f"{source.path}: holds no {CONFIG_NAME}; save the model with its configuration")
    return config


def load_model(
    source: ModelSource, threads: int, kernel: str | None, precision: Precision | None = None
) -> LoadedModel:
    """Load a model.

    Args:
        source: The opened model.
        threads: Cores for one call, from 1.
        kernel: Name of the kernel set; None: by PRUNEOFA_KERNEL, else the best.
        precision: Of float weights, see `Engine.load`.

    Raises:
        CheckpointError: A tensor is missing or has a wrong shape, or the engine does not run this kind of model.
        ConfigurationError: Threads, kernel or precision are out of range.
    """
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise ConfigurationError(f"threads is {threads!r}, allowed is a whole number from 1 to {MOST_THREADS}")
    if precision not in (None, "float32", "bfloat16"):
        raise ConfigurationError(f"precision is {precision!r:.40}, allowed are 'float32', 'bfloat16' and None")
    if precision is None:
        precision = "bfloat16" if source.file(MODULES_NAME) is None else "float32"
    config = read_config(source)
    where = f"{source.path}: {CONFIG_NAME}"
    family = engine_family(config, where)
    dimensions = dimensions_of(config, family, where)
    return _Loader(source, config, family, dimensions, active_kernel(kernel), precision == "bfloat16").load(threads)


class _Loader:
    def __init__(
        self,
        source: ModelSource,
        config: dict[str, Any],
        family: Family,
        dimensions: Dimensions,
        kernel: str,
        bfloat16: bool,
    ) -> None:
        self._source, self._config, self._family, self._dimensions = source, config, family, dimensions
        self._native = native_module()
        self._kernel = kernel
        self._bfloat16 = bfloat16 and has_bfloat16(kernel)
        content = source.file(source.folder + QUANTIZATION_NAME)
        where = f"{source.path}: {QUANTIZATION_NAME}"
        self._grids = QuantizedGrids() if content is None else read_grids(content, where)
        name = "embeddings.word_embeddings.weight"
        self._base = f"{family.prefix}." if source.shape(f"{family.prefix}.{name}") is not None else ""

    def load(self, threads: int) -> LoadedModel:
        # Reading, hashing, decoding and packing all let go of the interpreter's lock, so threads share them.
        with ThreadPoolExecutor(min(threads, usable_cores())) as pool:
            try:
                return self._load(threads, pool)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _load(self, threads: int, pool: Executor) -> LoadedModel:
        family, sizes = self._family, self._dimensions
        embeddings = f"{self._base}embeddings."
        words = pool.submit(self._table, f"{embeddings}word_embeddings")
        head = head_of(self._config, family, self._base, lambda name: self._source.shape(name) is not None)
        layers = [
            pool.submit(self._layer, f"{self._base}{family.layer.format(number)}.") for number in range(sizes.layers)
        ]
        rows = (self._source.shape("qa_outputs.weight") or (2,))[0]
        if head.task == "answer" and rows != 2:
            raise CheckpointError(
                f"{self._source.path}: its head for question answering has {rows} rows, 2 are needed (start and end); "
                "give a model that was trained for it"
            )
        steps = [(pool.submit(self._linear, module, None), activation) for module, activation in head.steps]
        word_table, vocabulary = words.result()  # in this order, so that of several faults the same is told each time
        positions, position_rows = self._table(f"{embeddings}position_embeddings")
        types = self._table(f"{embeddings}token_type_embeddings")[0] if family.has_token_types else None
        max_tokens = min(position_rows - (0 if sizes.padding_id is None else sizes.padding_id + 1), MAX_TOKENS)
        if max_tokens < 1:
            raise CheckpointError(
                f"{self._source.path}: its table of {position_rows} positions leaves none for a token"
            )
        bias = None
        if family.has_relative_positions:
            table = self._values(
                f"{self._base}encoder.relative_attention_bias.weight", (sizes.relative_buckets, sizes.heads)
            )
            bias = bias_by_distance(table, max_tokens)
        embedding_norm = self._norm(f"{embeddings}LayerNorm", sizes.embedding)
        projection = None
        if sizes.embedding != sizes.hidden:
            # float32 always: int8 models leave it in float too, and all that follows depends on it.
            module = f"{self._base}{family.embedding_projection}"
            projection = self._linear(module, (sizes.hidden, sizes.embedding), bfloat16=False)
        try:
            native = self._native.Model.of(
                heads=sizes.heads,
                intermediate=sizes.intermediate,
                max_tokens=max_tokens,
                epsilon=sizes.epsilon,
                activation=sizes.activation,
                attention_products=self._grids.attention_products,
                words=word_table,
                positions=positions,
                types=types,
                embedding_norm=embedding_norm,
                embedding_projection=projection,
                layers=[layer.result() for layer in layers],
                relative_bias=bias,
                head_kind=head.kind,
                head=[(step.result(), activation) for step, activation in steps],
                kernel=self._kernel,
                threads=threads,
            )
        except ValueError as error:
            raise self._fault(error) from None
        return LoadedModel(native, self._config, family, head, max_tokens, sizes.padding_id, vocabulary)

    def _layer(self, base: str) -> Any:
        family, sizes = self._family, self._dimensions
        square = (sizes.hidden, sizes.hidden)
        return self._native.Layer.of(
            query=self._linear(base + family.module("q"), square),
            key=self._linear(base + family.module("k"), square),
            value=self._linear(base + family.module("v"), square),
            attention_output=self._linear(base + family.module("attention_output"), square),
            attention_norm=self._norm(base + family.attention_norm),
            ffn_in=self._linear(base + family.module("ffn_in"), (sizes.intermediate, sizes.hidden)),
            ffn_out=self._linear(base + family.module("ffn_out"), (sizes.hidden, sizes.intermediate)),
            output_norm=self._norm(base + family.output_norm),
        )

    def _linear(self, module: str, shape: tuple[int, int] | None, *, bfloat16: bool = True) -> Any:
        name = f"{module}.weight"
        rows = self._shape(name, shape)[0]
        bias = None
        if self._source.shape(f"{module}.bias") is not None:
            bias = self._values(f"{module}.bias", (rows,))
        grids = self._grids.modules.get(module)
        try:
            if grids is None or grids.input is None:
                return self._native.Linear.float32(self._source.values(name), bias, bfloat16 and self._bfloat16)
            self._check_scale(module, grids.weight_scale, rows)
            levels = self._source.levels(name, grids.weight_scale)
            return self._native.Linear.int8(levels, grids.weight_scale, bias, grids.input, grids.output)
        except ValueError as error:
            raise self._fault(error, name) from None

    def _table(self, module: str) -> tuple[Any, int]:
        name = f"{module}.weight"
        shape = self._shape(name, None)
        size = self._dimensions.embedding
        if shape[1] != size:
            raise CheckpointError(
                f"{self._source.path}: tensor {name!r} has the shape {list(shape)}, [any, {size}] is needed"
            )
        grids = self._grids.modules.get(module)
        try:
            if grids is None:
                return self._native.Table.float32(self._source.values(name)), shape[0]
            self._check_scale(module, grids.weight_scale, shape[0])
            levels = self._source.levels(name, grids.weight_scale)
            return self._native.Table.int8(levels, grids.weight_scale), shape[0]
        except ValueError as error:
            raise self._fault(error, name) from None

    def _norm(self, module: str, features: int | None = None) -> Any:
        size = (features or self._dimensions.hidden,)
        weight, bias = f"{module}.weight", f"{module}.bias"
        if self._source.shape(weight) is None and self._source.shape(f"{module}.gamma") is not None:
            weight, bias = f"{module}.gamma", f"{module}.beta"  # as the first BERT models were published
        try:
            return self._native.Norm.float32(self._values(weight, size), self._values(bias, size))
        except ValueError as error:
            raise self._fault(error, module) from None

    def _values(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        self._shape(name, shape)
        return self._source.values(name)

    def _shape(self, name: str, needed: tuple[int, ...] | None) -> tuple[int, ...]:
        found = self._source.shape(name)
        if found is None:
            raise CheckpointError(
                f"{self._source.path}: holds no tensor {name!r}, which a {self._config.get('model_type')} model of its "
                "configuration needs; save the model again"
            )
        if len(found) != 2 if needed is None else found != needed:
            wanted = "two dimensions are" if needed is None else f"{list(needed)} is"
            raise CheckpointError(f"{self._source.path}: tensor {name!r} has the shape {list(found)}, {wanted} needed")
        return found

    def _check_scale(self, module: str, scale: NDArray[np.float32], rows: int) -> None:
        if scale.shape not in ((1,), (rows,)):
            raise CheckpointError(
                f"{self._source.path}: {module}.weight_scale has the shape {list(scale.shape)}, [1] or [{rows}] is "
                "needed"
            )

    def _fault(self, error: ValueError, name: str = "") -> CheckpointError:
        if isinstance(error, CheckpointError):
            return error
        what = f"tensor {name!r}: " if name else ""
        return CheckpointError(f"{self._source.path}: {what}{error}")

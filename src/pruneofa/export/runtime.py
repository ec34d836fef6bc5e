"""An exported model in ONNX Runtime, called as a model of transformers is."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruneofa.errors import CheckpointError

__all__ = ["OnnxModel"]

# Without VNNI instructions ONNX Runtime's int8 products saturate; with this it takes a slower, exact way there.
_EXACT_PRODUCTS = ("session.x64quantprecision", "1")


class OnnxModel(nn.Module):
    """Runs an ONNX file on the CPU; the outputs have the names that the file gives them.

    Args:
        source: The file, or its content.
        config: What `config` shall be, for callers that ask a model for it.
        threads: For one operator; 0 leaves it to the runtime.

    Raises:
        CheckpointError: ONNX Runtime can't load it.
    """

    def __init__(self, source: str | Path | bytes, config: Any = None, threads: int = 0) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry(*_EXACT_PRODUCTS)
        given = source if isinstance(source, bytes) else str(source)
        failures = (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile, errors.InvalidArgument)
        try:
            self.session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except (*failures, errors.NotImplemented, errors.RuntimeException) as error:
            name = "the graph" if isinstance(source, bytes) else str(source)
            text = re.sub(r"\s+", " ", str(error))
            raise CheckpointError(f"{name}: ONNX Runtime can't load it: {text:.300}; export the model again") from error
        self.config = config
        self.input_names = tuple(value.name for value in self.session.get_inputs())
        self.output_names = tuple(value.name for value in self.session.get_outputs())
        # Callers ask a model for its device by its parameters.
        self.register_parameter("placeholder", nn.Parameter(torch.zeros(0), requires_grad=False))

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs as tensors, by name; inputs that the graph does not have are left out.

        What a tokenizer may leave out has the default that transformers' models give it: no padding, one segment.
        """
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
        inputs.setdefault("token_type_ids", torch.zeros_like(inputs["input_ids"]))
        feed = {name: inputs[name].cpu().numpy() for name in self.input_names}
        found = self.session.run(None, feed)
        return {name: torch.from_numpy(array) for name, array in zip(self.output_names, found, strict=True)}

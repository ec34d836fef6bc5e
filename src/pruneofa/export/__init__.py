"""ONNX: export of float and int8 models, parity with PyTorch, inspection of a file."""

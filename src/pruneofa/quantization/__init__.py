"""int8 quantization of an encoder's Linear layers: fake quantization, quantization-aware training, stored scales."""

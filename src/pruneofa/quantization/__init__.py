"""int8: fake quantization, training with it, calibration, attention products, conversion, sensitivity."""

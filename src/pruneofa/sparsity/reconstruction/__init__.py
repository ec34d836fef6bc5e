"""Layer-wise reconstruction: a pruned layer's weights are fitted to the dense layer's outputs, without training."""

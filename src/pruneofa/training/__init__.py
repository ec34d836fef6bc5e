"""Training: learning-rate rewinding, and the trainer that joins model, pruner, distiller and quantizer."""

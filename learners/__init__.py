"""Ray actors that learn: DeepSpeed ranks, packing, publishing of weights, checkpoints."""

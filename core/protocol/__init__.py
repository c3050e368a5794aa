"""The stages in their order: training, what they hand on, checkpoints."""

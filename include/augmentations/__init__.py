"""Random changes of inputs during training only."""

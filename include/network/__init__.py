"""A network: built from a model's definition, checked before training, and evaluated."""

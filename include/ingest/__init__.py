"""Source -> topics, each batch exactly once."""

"""Network definitions, by name."""

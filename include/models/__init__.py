"""Network definitions, one file a kind."""

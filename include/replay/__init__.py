"""Send dead letters back to the requests, exactly once."""

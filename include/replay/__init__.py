"""Dead letters back into the pipeline, exactly once."""

"""Consume -> predict -> publish, exactly once."""

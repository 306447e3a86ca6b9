"""Consume, predict and publish exactly once; read what was published."""

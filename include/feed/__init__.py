"""Offset ranges -> shuffled tensor batches, resumable, for (rank, world size)."""

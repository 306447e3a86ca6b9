"""Loop, checkpoints, evaluation and launch: from a frozen manifest to a model directory."""

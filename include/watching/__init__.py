"""Watching a served model: drift of its inputs and answers, its score and its calibration by labels that come late."""

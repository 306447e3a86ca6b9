"""Sources of samples: one file a kind; helpers are `_name.py`."""

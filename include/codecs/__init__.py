"""Sample <-> bytes, a list of records at a time."""

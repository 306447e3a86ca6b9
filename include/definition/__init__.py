"""A pipeline's TOML file: its tables, the checks across them, and reading it."""

"""The subcommands of `python -m include`, one module each."""

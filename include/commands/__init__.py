"""The subcommands of `millrace`, one module each."""

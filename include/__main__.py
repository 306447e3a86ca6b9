"""The library's command line: `python -m include <command>`."""

from __future__ import annotations

import typer

from include.commands import broker, demo, new_pipeline, peek, registry, stack

app = typer.Typer(
    name="python -m include",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Millrace's tools for the command line.",
)
app.add_typer(broker.app, name="broker")
app.add_typer(registry.app, name="registry")
app.add_typer(stack.app, name="stack")
app.command()(demo.demo)
app.command()(new_pipeline.new_pipeline)
app.command()(peek.peek)


def main() -> None:
    """Run the command named on the command line."""
    app()


if __name__ == "__main__":
    main()

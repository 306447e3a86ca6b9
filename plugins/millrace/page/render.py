"""Templates to answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from include.errors import amount
from include.kafka.environment import current_environment
from include.registry.tracking import interface_address
from millrace.page import overview, text

if TYPE_CHECKING:
    from fastapi import Request, Response

# Beside this file, as the plugins folder may be mounted and not installed.
HERE = Path(__file__).parent
# The pages of a pipeline: the end of the address, and the name.
TABS = (("overview", "Pipeline"), ("look", "Records"), ("dead-letters", "Dead letters"), ("models", "Models"))


class Pages:
    """Renders templates; what is put into one is text unless the template itself is markup."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for function in (
            amount,
            text.number,
            text.duration,
            text.span,
            text.moment,
            text.figure,
            text.middle,
            text.run_time,
            text.code,
        ):
            self._templates.filters[function.__name__] = function
        self._templates.globals["run_sentence"] = overview.run_sentence

    def compile(self) -> None:
        """Compile all templates, which takes longer than to render one."""
        for name in self._templates.list_templates():
            self._templates.get_template(name)

    def render(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        base = str(request.scope.get("root_path", ""))
        shared = {
            "base": base,
            "airflow": base.removesuffix("/millrace"),
            "environment": current_environment(),
            "mlflow": interface_address(),
            "now": time.time(),
            "tabs": TABS,
        }
        return HTMLResponse(self._templates.get_template(template).render(shared | values), status_code=status)

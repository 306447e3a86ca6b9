"""Registers the page with Airflow, whose loader runs this file in each of its processes: so it imports little."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/millrace"
ROOT = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


class MillracePlugin(AirflowPlugin):
    """The page's app, and its entry in Airflow's navigation."""

    name = "millrace"
    external_views = [  # noqa: RUF012 - as Airflow's own class declares it
        {
            "name": "Millrace",
            "href": f"{ROOT}{PREFIX}/",
            "icon": f"{ROOT}{PREFIX}/static/icon.svg",
            "icon_dark_mode": f"{ROOT}{PREFIX}/static/icon-dark.svg",
            "destination": "nav",
            "nav_top_level": True,
            "url_route": "millrace",
        }
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The app: only the API server asks for it, so only there it is made."""
        from millrace.page.app import page_app

        return [{"app": page_app(), "url_prefix": PREFIX, "name": "Millrace"}]

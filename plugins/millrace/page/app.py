"""The page's app: behind Airflow's login, with headers that let a browser run and fetch nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from millrace.page.render import Pages
from millrace.page.routes import router
from millrace.page.site import Site

if TYPE_CHECKING:
    from fastapi.responses import Response
    from starlette.middleware.base import RequestResponseEndpoint

# Everything comes from this server, nothing runs but its one script, and only Airflow's own pages show it in a frame.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def page_app() -> FastAPI:
    """The app of this process."""
    return make_app(Site())


def make_app(site: Site) -> FastAPI:
    """An app that shows a site."""

    pages = Pages()

    @asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        """Begin to read, so that what takes long to import or to compile is there before somebody opens the page."""
        await run_in_threadpool(site.begin)
        await run_in_threadpool(pages.compile)
        yield

    # Its description would be open to everyone.
    app = FastAPI(
        title="Millrace",
        dependencies=[Depends(get_user)],
        lifespan=prepare,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    app.state.pages = pages
    app.include_router(router)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(HTTPException)
    def show_error(request: Request, error: HTTPException) -> Response:
        return pages.render(request, "error.html", status=error.status_code, code=error.status_code, text=error.detail)

    @app.exception_handler(RequestValidationError)
    def show_invalid(request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        text = f"{'.'.join(map(str, fault['loc'][1:]))} = {fault.get('input')!r:.100}: {fault['msg']}."
        return pages.render(request, "error.html", status=422, code=422, text=text)

    return app

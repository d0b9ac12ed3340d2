"""The pages that people open: the slides at ``/``, the API's description at ``/docs``, all from this machine alone."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

_PAGES = Path(__file__).parent / "static"
# What the bundled Swagger UI can show.
_OPENAPI_VERSION = "3.0.3"


def add_pages(app: FastAPI) -> None:
    """Add the pages; ``app`` must have been made with ``docs_url=None``."""
    app.openapi_version = _OPENAPI_VERSION
    app.mount("/pages", StaticFiles(directory=_PAGES))
    app.mount("/swagger", StaticFiles(directory=swagger_ui_path))

    @app.get("/", include_in_schema=False)
    def slides() -> FileResponse:
        return FileResponse(_PAGES / "index.html")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="dicomsvc API",
            swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css",
            swagger_favicon_url="/swagger/favicon-32x32.png",
        )

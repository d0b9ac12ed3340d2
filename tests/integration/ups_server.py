"""The worklist service over a test's own store, in a thread of the test, behind the gate."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicomsvc.auth import Authenticator
from dicomsvc.config import AuthSettings
from dicomsvc.dicomweb import FrameApp, workitem_routes
from dicomsvc.errors import DicomsvcError
from dicomsvc.jobs import Jobs
from dicomsvc.store import Store
from dicomsvc.web.cors import Cors
from dicomsvc.web.gate import Gate, Traffic


def performable(value: str, scheme: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return the work that the tests' workers do."""
    return ("analyze", {"model": value}) if (value, scheme) == ("nuclei", "99DICOMSVC") else None


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DicomsvcError)
    return JSONResponse({"error": error.message}, error.http_status)


@contextmanager
def serving(store: Store, auth: AuthSettings | None = None) -> Iterator[str]:
    """Serve on a random port of loopback; yields the DICOMweb root."""
    routes = workitem_routes(store, Jobs(store.engine), store.settings, performable)
    app = Starlette(routes=routes, exception_handlers={DicomsvcError: _error})
    gate = Gate(
        app,
        FrameApp(store, store.settings),
        Authenticator(auth or AuthSettings()),
        Cors(["https://viewer.example.org"]),
        Traffic(),
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Who connects before the server runs waits.
    listener.listen(100)
    server = uvicorn.Server(uvicorn.Config(gate, lifespan="off", log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/dicomweb"
    finally:
        server.should_exit = True
        thread.join(10)

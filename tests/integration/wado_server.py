"""A web server over a test's own store, in a thread of the test."""

import asyncio
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.routing import Router

from dicomsvc.dicomweb import FrameApp, retrieve_routes
from dicomsvc.errors import DicomsvcError
from dicomsvc.store import Source, Store, Stored


def store_files(store: Store, contents: Iterable[bytes]) -> list[Stored]:
    """Store Part 10 files given by their bytes."""
    stored = []
    for content in contents:
        with store.spool() as spooled:
            spooled.write(content)
            stored.append(store.add(spooled, Source("import")))
    return stored


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """Serve the store on a random port of loopback; yields the DICOMweb root."""
    app = Router(retrieve_routes(store, store.settings))
    frames = FrameApp(store, store.settings)

    async def gate(scope, receive, send):
        try:
            await (frames if frames.matches(scope["path"]) else app)(scope, receive, send)
        except DicomsvcError as error:
            body = error.message.encode()
            await send(
                {
                    "type": "http.response.start",
                    "status": error.http_status,
                    "headers": [(b"content-length", str(len(body)).encode())],
                }
            )
            await send({"type": "http.response.body", "body": body})

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(gate, lifespan="off", log_level="warning", proxy_headers=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/dicomweb"
    finally:
        server.should_exit = True
        thread.join(10)

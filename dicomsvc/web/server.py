"""The HTTP server (uvicorn) around the application."""

import asyncio
import errno
import socket
import time
from collections.abc import Callable

import uvicorn

from dicomsvc.config import HttpSettings, split_address
from dicomsvc.errors import ConfigurationError
from dicomsvc.tls import server_context
from dicomsvc.web.gate import AsgiApp

_BIND_SECONDS = 10
_BACKLOG = 1024
# Event channels only speak; what a client says on one is not read.
_LARGEST_MESSAGE = 1 << 16


def bind(address: str) -> socket.socket:
    """Return a listening socket; waits a little for a process that is just leaving the port.

    Raises
    ------
    ConfigurationError
        When the address cannot be had.
    """
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{address} cannot be bound ({error.strerror}); another program has it, or choose with --http"
                ) from error
            time.sleep(0.2)
        else:
            return listener


def serve_http(app: AsgiApp, settings: HttpSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let running requests end; ``on_ready`` gets the root URL.

    Raises
    ------
    ConfigurationError
        When the address cannot be had, or the certificate is not what it must be.
    """
    tls = server_context(settings.tls, "http.tls", protocols=("http/1.1",))
    listener = bind(settings.bind)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        # What a sender stored stays what its Content-Type says, whatever else its first bytes look like.
        headers=[("x-content-type-options", "nosniff")],
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
        limit_concurrency=None,
        proxy_headers=False,
        lifespan="off",
        ws_max_size=_LARGEST_MESSAGE,
        backlog=_BACKLOG,
    )
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            scheme = "http" if tls is None else "https"
            on_ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        await serving

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())

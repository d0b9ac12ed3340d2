"""The web application over a test's own store, in a thread of the test, and slides to put into it."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import uvicorn

from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.store import Source, Store, Stored
from dicomsvc.web import build_app


def store_files(store: Store, contents: Iterable[bytes]) -> list[Stored]:
    """Store Part 10 files given by their bytes."""
    stored = []
    for content in contents:
        with store.spool() as spooled:
            spooled.write(content)
            stored.append(store.add(spooled, Source("import")))
    return stored


@cache
def converted(slide: Path, mpp: float | None = None) -> tuple[bytes, ...]:
    """Return the instances that a slide is converted to."""
    with tempfile.TemporaryDirectory() as name:
        with FolderSink(Path(name)) as sink:
            convert_slide(slide, sink, ConversionOptions(mpp=mpp))
        return tuple(path.read_bytes() for path in sorted(Path(name).glob("*.dcm")))


@contextmanager
def serving(store: Store) -> Iterator[str]:
    """Serve the store on a random port of loopback; yields the DICOMweb root."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Who connects before the server runs waits.
    listener.listen(100)
    config = uvicorn.Config(build_app(store), lifespan="off", log_level="warning", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/dicomweb"
    finally:
        server.should_exit = True
        thread.join(10)

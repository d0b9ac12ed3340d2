"""Our search and store routes over a test's own store, asked in process, errors answered as the web room does."""

import json
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import psycopg
from psycopg import sql
from pydantic import SecretStr
from pydicom.dataset import Dataset
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dicomsvc.config import DatabaseSettings, Settings, StoreSettings
from dicomsvc.dicomweb import search_routes, store_routes
from dicomsvc.errors import DicomsvcError
from dicomsvc.store import Source, Store
from tests.instances import part10

BOUNDARY = "0123456789abcdef"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DicomsvcError)
    return JSONResponse({"error": error.message}, error.http_status)


def multipart(contents: Sequence[bytes], content_type: str = "application/dicom") -> bytes:
    """Return a body with these parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Client:
    """Asks the routes of a store."""

    app: Starlette

    def request(
        self, method: str, path: str, *, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://pacs.example") as client:
                return await client.request(method, f"/dicomweb{path}", content=content, headers=headers)

        return anyio.run(run)

    def search(self, path: str) -> list[dict[str, Any]]:
        """Return the results of a search that must succeed."""
        answer = self.request("GET", path)
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = json.loads(answer.content)
        return results

    def store(self, contents: Sequence[bytes], path: str = "/studies", **headers: str) -> tuple[int, dict[str, Any]]:
        """Send Part 10 files; return status and answer."""
        answer = self.request("POST", path, content=multipart(contents), headers={"Content-Type": MULTIPART, **headers})
        return answer.status_code, answer.json()


@contextmanager
def client_of(store: Store, settings: Settings | None = None) -> Iterator[Client]:
    """Ask the routes of a store, with its settings or others."""
    settings = settings or store.settings
    routes = [*store_routes(store, settings), *search_routes(store, settings)]
    yield Client(Starlette(routes=routes, exception_handlers={DicomsvcError: _error}))


@contextmanager
def new_store(database_server: str) -> Iterator[Store]:
    """Make a store with a database of its own, for more than one test."""
    name = f"test_{uuid.uuid4().hex}"
    maintenance = database_server.replace("/postgres?", "/template1?")
    url = SecretStr(database_server.replace("/postgres?", f"/{name}?"))
    with psycopg.connect(maintenance, autocommit=True) as connection, tempfile.TemporaryDirectory() as folder:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE postgres").format(sql.Identifier(name)))
        settings = Settings(
            data=Path(folder) / "data",
            database=DatabaseSettings(url=url),
            store=StoreSettings(disk_reserve_mb=0),
        )
        with Store(settings) as store:
            yield store
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def keep(store: Store, *datasets: Dataset) -> None:
    """Store data sets."""
    for ds in datasets:
        with store.spool() as spooled:
            spooled.write(part10(ds))
            store.add(spooled, Source("import"))


def values(results: Sequence[dict[str, Any]], tag: str) -> list[Any]:
    """Return the first value of an attribute of each result."""
    return [result[tag]["Value"][0] if "Value" in result[tag] else None for result in results]

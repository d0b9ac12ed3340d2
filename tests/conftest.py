"""What all tests share: a PostgreSQL server, a store of its own for each test, a running service, peers, slides.

One embedded server serves a whole test run. Every `store` gets a database of its own, copied from a migrated template.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from dicomsvc.config import DatabaseSettings, Settings, StoreSettings
from dicomsvc.store import Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import start_embedded

REPOSITORY = Path(__file__).parents[1]
CMU_SMALL_REGION = REPOSITORY / "tests" / "data" / "CMU-1-Small-Region.svs"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that the embedded server's user may look into (pytest's own is closed to others)."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def database_server() -> Iterator[str]:
    """The URL of a migrated database that others are copied from."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-db-") as name:
        Path(name).chmod(0o755)
        embedded = start_embedded(Path(name))
        engine = make_engine(DatabaseSettings(url=SecretStr(embedded.url)))
        migrate(engine)
        engine.dispose()
        yield embedded.url
        embedded.stop()


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """The URL of a fresh database with the current schema."""
    name = f"test_{uuid.uuid4().hex}"
    maintenance = database_server.replace("/postgres?", "/template1?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE postgres')
    yield database_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def settings(folder: Path, database_url: str) -> Settings:
    """Settings of a store of this test's own, on random ports."""
    return Settings(
        data=folder / "data",
        database=DatabaseSettings(url=SecretStr(database_url)),
        store=StoreSettings(disk_reserve_mb=0),
        http={"bind": "127.0.0.1:0"},
        dimse={"bind": "127.0.0.1:0"},
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """An empty store."""
    with Store(settings) as opened:
        yield opened


@dataclass(frozen=True)
class RunningService:
    """A service in processes of its own."""

    process: "subprocess.Popen[str]"
    url: str
    dimse_port: int
    data: Path
    log: Path

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicomweb"


def start_service(
    data: Path,
    *,
    models: bool = False,
    environment: dict[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    before: tuple[str, ...] = (),
) -> RunningService:
    """Start ``dicomsvc serve`` on random ports and wait until it is ready.

    ``models``: with a Triton server. ``before``: a program and its arguments that run the command after them.
    """
    log = data.parent / f"service-{uuid.uuid4().hex}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [
                *before,
                *(sys.executable, "-m", "dicomsvc", "serve", "--json", "--data", str(data)),
                *("--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0"),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={
                **os.environ,
                "DICOMSVC_STORE__DISK_RESERVE_MB": "0",
                **({} if models else {"DICOMSVC_TRITON__IN_PROCESS": "true"}),
                **(environment or {}),
            },
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the service did not start:\n{log.read_text()}"
    import json

    addresses = json.loads(line)
    return RunningService(process, addresses["web"], int(addresses["dimse"].rpartition(":")[2]), data, log)


def running_service(**options: bool) -> Iterator[RunningService]:
    """Yield a running service with an empty store, which must end well."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-service-") as name:
        Path(name).chmod(0o755)
        running = start_service(Path(name) / "data", **options)
        yield running
        running.process.terminate()
        try:
            assert running.process.wait(40) == 0, running.log.read_text()
        finally:
            running.process.kill()


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """A running service with an empty store, for the tests of one module."""
    yield from running_service()


@pytest.fixture(scope="session")
def shared_service() -> Iterator[RunningService]:
    """A running service for all tests that do not mind what else is in its store."""
    yield from running_service()


@pytest.fixture(scope="module")
def model_service() -> Iterator[RunningService]:
    """A running service with an empty store and a Triton server, for the tests of one module."""
    yield from running_service(models=True)


def import_slide(service: RunningService, path: Path, *options: str) -> tuple[str, str]:
    """Bring a slide into a running service and return its study and series."""
    import json

    command = [sys.executable, "-m", "dicomsvc", "import", str(path), "--data", str(service.data), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    [item] = json.loads(done.stdout)
    return item["outputs"]["study_instance_uid"], item["outputs"]["series_instance_uid"]


@pytest.fixture(scope="session")
def cmu_small_region() -> Path:
    """OpenSlide's CMU-1-Small-Region: Aperio SVS, 2220 x 2967, JPEG tiles, label and macro image."""
    return CMU_SMALL_REGION


@pytest.fixture(scope="session")
def big_data() -> Path:
    """The folder of real slides that are too large for the repository; tests that want it are skipped without."""
    folder = Path(os.environ.get("DICOMSVC_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "slides").is_dir():
        pytest.skip("the real slides are not here; set DICOMSVC_TEST_DATA")
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_program(name: str) -> str:
    """Return the path of a peer's program; skip the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (`make setup-test`)")
    return path

"""The embedded PostgreSQL: found again, and no danger to folders that are closed to others."""

import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dicomsvc.store.embedded import embedded_folder, start_embedded


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only as root is the server another user")
    with tempfile.TemporaryDirectory(prefix="dicomsvc-closed-") as name:
        home = Path(name) / "home"
        home.mkdir(mode=0o700)
        Path(name).chmod(0o755)
        yield home


def test_the_server_is_found_again_with_its_data(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    first = start_embedded(data)
    with psycopg.connect(first.url) as connection:
        connection.execute("CREATE TABLE kept (value text)")
    first.stop()
    again = start_embedded(data)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    again.stop()


def test_a_killed_server_is_started_again_under_its_url(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    server = start_embedded(data)
    server.keep_alive()
    try:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (value text)")
        os.kill(int((embedded_folder(data) / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        assert answers_again(server.url, seconds=20)
    finally:
        server.stop()
    assert not server.alive()


def answers_again(url: str, seconds: float) -> bool:
    """Whether the server was gone and came back with its data."""
    deadline = time.monotonic() + seconds
    gone = False
    while time.monotonic() < deadline:
        try:
            with psycopg.connect(url) as connection:
                connection.execute("SELECT * FROM kept")
            if gone:
                return True
        except psycopg.OperationalError:
            gone = True
        time.sleep(0.05)
    return False


def test_a_closed_folder_stays_closed(closed_folder: Path) -> None:
    data = closed_folder / "data"
    data.mkdir()
    server = start_embedded(data)
    try:
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert stat.S_IMODE(closed_folder.stat().st_mode) == 0o700
    finally:
        server.stop()
        shutil.rmtree(embedded_folder(data))


def test_a_new_data_folder_in_an_old_ones_place_has_a_database_of_its_own(closed_folder: Path) -> None:
    data = closed_folder / "data"
    data.mkdir()
    first = embedded_folder(data)
    assert embedded_folder(data) == first
    shutil.rmtree(data)
    data.mkdir()
    assert embedded_folder(data) != first

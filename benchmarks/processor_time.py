"""Processor time of servers, in which a shared machine's load shows far less than in the time that passes."""

import psutil
from sqlalchemy import Engine, text


def seconds_taken(processes: list[psutil.Process]) -> float:
    """Return the processor time that processes, and those that they started, have taken until now."""
    return sum(_seconds_taken(process) for process in processes)


def _seconds_taken(process: psutil.Process) -> float:
    times = process.cpu_times()
    ended = times.children_user + times.children_system
    running = seconds_taken(process.children())
    return float(times.user + times.system + ended + running)


def listening(port: int) -> psutil.Process:
    """Return the process of this machine that listens on a TCP port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid is not None:
            return psutil.Process(connection.pid)
    raise SystemExit(f"no process listens on port {port}")


def database_server(engine: Engine) -> psutil.Process:
    """Return the first process of a PostgreSQL server on this machine."""
    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    parent = psutil.Process(backend).parent()
    assert parent is not None
    return parent

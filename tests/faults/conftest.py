"""One node for all abuse that a node must bear without a restart; the figures at the end of the run."""

from collections.abc import Iterator

import pytest

from tests.conftest import RunningService
from tests.faults.node import FIGURES, assert_sound, eventually, role_process, running, spooled

PDU_TIMEOUT_SECONDS = 2.0
IDLE_TIMEOUT_SECONDS = 4.0


@pytest.fixture(scope="session")
def abused_service() -> Iterator[RunningService]:
    """A node with short patience, which all abuse of a run goes to; at the end its store must be sound."""
    environment = {
        "DICOMSVC_DIMSE__PDU_TIMEOUT_SECONDS": str(PDU_TIMEOUT_SECONDS),
        "DICOMSVC_DIMSE__IDLE_TIMEOUT_SECONDS": str(IDLE_TIMEOUT_SECONDS),
    }
    with running(environment=environment) as service:
        yield service
        assert_sound(service)


@pytest.fixture
def node(abused_service: RunningService) -> Iterator[RunningService]:
    """The abused node: no process of it ends, nothing stays in the spool, no exception is left to the log."""
    before = {role: role_process(abused_service, role).pid for role in ("web", "dimse", "worker")}
    logged = abused_service.log.stat().st_size
    yield abused_service
    assert {role: role_process(abused_service, role).pid for role in before} == before, "a process has died"
    assert eventually(lambda: not spooled(abused_service)), "the spool is not empty"
    with abused_service.log.open() as log:
        log.seek(logged)
        written = log.read()
    assert "Traceback" not in written and '  File "' not in written, written[-4000:]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)

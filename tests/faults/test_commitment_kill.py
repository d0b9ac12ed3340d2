"""Kill the service between a request for storage commitment and its report: what was accepted is reported."""

import contextlib
import json
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.conftest import RunningService, start_service
from tests.faults.node import c_store, eventually, kill, stop
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.integration.commitment_peer import AE_TITLE, Requestor

ROUNDS = int(os.environ.get("DICOMSVC_KILL_ROUNDS", "4"))

pytestmark = pytest.mark.slow


def environment(requestor: Requestor, **settings: str) -> dict[str, str]:
    peer = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": requestor.port, "may": ["commitment", "store"]}
    others = {"ae_title": "DICOMSVC", "may": ["store"]}
    return {
        "DICOMSVC_PEERS": json.dumps({"modality": peer, "sender": others}),
        "DICOMSVC_COMMITMENT__RETRY_SECONDS": "0.5",
        "DICOMSVC_COMMITMENT__RETRY_LONGEST_SECONDS": "2",
        **settings,
    }


def store_one(service: RunningService) -> tuple[str, str]:
    ds = wsi_dataset()
    assert c_store(service, part10(ds)) == 0
    return VL_WHOLE_SLIDE, str(ds.SOPInstanceUID)


def test_a_report_that_was_due_when_the_service_died_comes_after_its_restart() -> None:
    requestor, uid = Requestor(), generate_uid()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        base = Path(name)
        base.chmod(0o755)
        patient = environment(requestor, DICOMSVC_COMMITMENT__QUIET_SECONDS="20")
        service = start_service(base / "data", environment=patient)
        instance = store_one(service)
        assoc = requestor.associate(service.dimse_port)
        assert requestor.ask(assoc, uid, [instance]) == 0x0000
        kill(service)
        assert not requestor.reports
        requestor.listen()
        service = start_service(base / "data", environment=patient)
        try:
            assert eventually(lambda: bool(requestor.reports), 90)
        finally:
            stop(service)
            requestor.stop()
    [report] = requestor.reports
    assert (report.transaction_uid, report.event_type, report.committed) == (uid, 1, [instance[1]])


def test_whatever_is_accepted_is_reported_through_kills_at_random_moments() -> None:
    chance = random.Random(20260102)
    requestor = Requestor()
    accepted: list[str] = []
    with tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        base = Path(name)
        base.chmod(0o755)
        settings = environment(requestor, DICOMSVC_COMMITMENT__QUIET_SECONDS="0.2")
        requestor.listen()
        instances: list[tuple[str, str]] = []
        for _ in range(ROUNDS):
            service = start_service(base / "data", environment=settings)
            instances.append(store_one(service))
            asking = threading.Thread(target=ask_on, args=(requestor, service.dimse_port, instances, accepted))
            asking.start()
            time.sleep(chance.uniform(0.2, 2.0))
            kill(service)
            asking.join()
        service = start_service(base / "data", environment=settings)
        try:
            assert accepted, "nothing was accepted before the first kill: the test shows nothing"
            assert eventually(lambda: set(accepted) <= {report.transaction_uid for report in requestor.reports}, 120)
        finally:
            stop(service)
            requestor.stop()
    assert all(report.event_type == 1 for report in requestor.reports)


def ask_on(requestor: Requestor, port: int, instances: list[tuple[str, str]], accepted: list[str]) -> None:
    """Ask again and again, now releasing at once, now waiting, until the service is gone."""
    with contextlib.suppress(AssertionError, RuntimeError, AttributeError, ValueError):
        for number in range(200):
            uid = generate_uid()
            assoc = requestor.associate(port)
            assert requestor.ask(assoc, uid, list(instances)) == 0x0000
            accepted.append(uid)
            if number % 2:
                time.sleep(0.3)
            assoc.release()

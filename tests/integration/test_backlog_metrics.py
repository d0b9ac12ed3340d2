"""What waits, and how the stored files stand, is told at ``/metrics`` by the service as a whole."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom.uid import generate_uid
from sqlalchemy import text

from dicomsvc.audit import Outcome, SecurityAlert, record
from dicomsvc.audit.trail import Keeper
from dicomsvc.config import AuditSettings, Settings
from dicomsvc.dimse.commitment import AskedState
from dicomsvc.dimse.commitment.asked import record_request, record_state
from dicomsvc.dimse.commitment.model import ActionInformation, Reference
from dicomsvc.pacs.commitment import Commitments
from dicomsvc.store import Store
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.integration.wado_server import serving, store_files

Figures = dict[tuple[str, ...], float]


def scraped(store: Store) -> Figures:
    """Return each figure by its metric's name and the values of its labels."""
    with serving(store) as root:
        answer = httpx.get(root.removesuffix("/dicomweb") + "/metrics", timeout=30)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_files_are_told(store: Store) -> None:
    kept = store_files(store, [part10(wsi_dataset(seed=seed)) for seed in range(3)])
    figures = scraped(store)
    assert figures["dicomsvc_store_damaged_files",] == 0
    assert figures["dicomsvc_store_unread_files",] == 3
    assert 0 <= figures["dicomsvc_store_longest_unread_seconds",] < 600
    store.instances.find_sop_instance(kept[0].sop_instance_uid).path.unlink()
    store.verify()
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE verification SET verified_at = now() - interval '40 days'"))
    figures = scraped(store)
    assert figures["dicomsvc_store_damaged_files",] == 1
    assert figures["dicomsvc_store_unread_files",] == 1, "there is nothing to read"
    assert figures["dicomsvc_store_longest_unread_seconds",] == pytest.approx(40 * 86400, rel=0.01)


def test_an_empty_store_tells_zeros(store: Store) -> None:
    figures = scraped(store)
    assert {figures[name] for name in figures if name[0].startswith(("dicomsvc_store_un", "dicomsvc_commit"))} == {0}
    assert figures["dicomsvc_forwards", "dead"] == 0
    assert ("dicomsvc_audit_unsent",) not in figures, "no collector is configured"


def test_storage_commitment_is_told_both_ways(store: Store) -> None:
    instance = Reference(VL_WHOLE_SLIDE, generate_uid())
    commitments = Commitments(store.engine)
    for _ in range(3):
        commitments.accept("MODALITY", ActionInformation(generate_uid(), (instance,)), "tester", lease_seconds=60)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE commitment SET state = 'given up' WHERE id = (SELECT min(id) FROM commitment)"))
    for state in (AskedState.ASKING, AskedState.ASKED, AskedState.ASKED, AskedState.GIVEN_UP):
        uid = generate_uid()
        record_request(store.engine, uid, "ARCHIVE", [instance], lease_seconds=60)
        record_state(store.engine, uid, state)
    figures = scraped(store)
    received, sent = (
        {name[2]: value for name, value in figures.items() if name[:2] == ("dicomsvc_commitments", direction)}
        for direction in ("received", "sent")
    )
    assert received == {"requested": 2, "checked": 0, "reported": 0, "given up": 1}
    assert sent == {"asking": 1, "asked": 2, "answered": 0, "refused": 0, "given up": 1}


def test_audit_messages_that_wait_are_told_though_no_worker_runs(settings: Settings) -> None:
    audit = AuditSettings(collector="127.0.0.1:6514")
    with Store(settings.model_copy(update={"audit": audit})) as store:
        for number in range(3):
            record(
                store.engine,
                SecurityAlert(kind="NodeAuthentication", subject=f"urn:x:{number}", outcome=Outcome.MINOR_FAILURE),
            )
        with store.engine.begin() as connection:
            connection.execute(text("UPDATE audit SET at = now() - interval '1 hour'"))
        assert Keeper(store.engine, store.settings).keep() == 3
        figures = scraped(store)
    assert figures["dicomsvc_audit_unsent",] == 3
    assert figures["dicomsvc_audit_unsent_seconds",] > 0

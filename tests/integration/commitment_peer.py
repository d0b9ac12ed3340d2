"""Application entities that take part in storage commitment: pynetdicom's, as requestor and as archive."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomsvc.dimse import DimseServer
from dicomsvc.pacs.commitment import CommitmentUpkeep
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store

AE_TITLE = "MODALITY"
References = Sequence[tuple[str, str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Node:
    """The DICOM service with what runs beside it, in this process."""

    def __init__(self, store: Store, *, upkeep: bool = True) -> None:
        self.server = DimseServer(store.settings.dimse, SERVICES, store)
        self._upkeep = CommitmentUpkeep(store, every_seconds=0.1) if upkeep else None

    def __enter__(self) -> int:
        self.server.start()
        if self._upkeep is not None:
            self._upkeep.start()
        return self.server.port

    def __exit__(self, *_: object) -> None:
        self.server.stop(2)
        if self._upkeep is not None:
            self._upkeep.stop()


def referenced(references: References) -> list[Dataset]:
    items = []
    for sop_class_uid, sop_instance_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        items.append(item)
    return items


def action_information(transaction_uid: str, references: References) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = referenced(references)
    return ds


class Report:
    """A received N-EVENT-REPORT."""

    def __init__(self, event: Event) -> None:
        ds = event.event_information
        self.event_type = event.event_type
        self.transaction_uid = str(ds.TransactionUID)
        self.retrieve_ae_title = ds.get("RetrieveAETitle")
        self.committed = [str(item.ReferencedSOPInstanceUID) for item in ds.get("ReferencedSOPSequence", ())]
        self.failed = {
            str(item.ReferencedSOPInstanceUID): item.FailureReason for item in ds.get("FailedSOPSequence", ())
        }
        self.acceptor = event.assoc.is_acceptor


class Requestor:
    """A modality: it asks on an association of its own, and takes reports on that one and on others."""

    def __init__(self, *, status: int = 0x0000) -> None:
        self.reports: list[Report] = []
        self.status = status
        self.arrived = threading.Condition()
        self.port = free_port()
        self._server: object | None = None

    def listen(self, *, roles: bool = True) -> None:
        """Take associations in which the other side is the SCP; ``roles``: by answering its role selection."""
        ae = AE(AE_TITLE)
        selection = {"scu_role": False, "scp_role": True} if roles else {}
        ae.add_supported_context(StorageCommitmentPushModel, **selection)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()  # type: ignore[attr-defined]
            self._server = None

    def _take(self, event: Event) -> tuple[int, None]:
        self.reports.append(Report(event))
        return self.status, None

    def associate(self, port: int) -> Association:
        ae = AE(AE_TITLE)
        ae.add_requested_context(StorageCommitmentPushModel)
        assoc = ae.associate("127.0.0.1", port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)])
        assert assoc.is_established
        return assoc

    def ask(self, assoc: Association, transaction_uid: str, references: References, action_type: int = 1) -> int:
        """Send an N-ACTION and return the status it is answered with."""
        status, _ = assoc.send_n_action(
            action_information(transaction_uid, references),
            action_type,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        value: int = status.Status
        return value

    def ask_and_leave(self, port: int, transaction_uid: str, references: References) -> int:
        assoc = self.associate(port)
        status = self.ask(assoc, transaction_uid, references)
        assoc.release()
        return status

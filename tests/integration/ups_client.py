"""A client of the worklist service: plain HTTP and a WebSocket."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydicom.datadict import dictionary_VR, tag_for_keyword
from websockets.sync.client import ClientConnection, connect

JSON = {"Content-Type": "application/dicom+json", "Accept": "application/dicom+json"}
TRANSACTION, OTHER_TRANSACTION = "2.25.111", "2.25.222"
Item = dict[str, Any]


def tag(keyword: str) -> str:
    number = tag_for_keyword(keyword)
    assert number is not None, keyword
    return f"{number:08X}"


def item(**values: Any) -> Item:
    """Return a data set as DICOM JSON; a list is the values of an element."""
    made: Item = {}
    for keyword, value in values.items():
        listed = value if isinstance(value, list) else [value]
        made[tag(keyword)] = {"vr": dictionary_VR(int(tag(keyword), 16)), "Value": listed}
    return made


def code(value: str, scheme: str = "99TEST", meaning: str = "test") -> Item:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def value(document: Item, *path: str) -> Any:
    """Return the first value of an element, down through the first items of sequences; None when there is none."""
    for keyword in path[:-1]:
        document = (document.get(tag(keyword), {}).get("Value") or [{}])[0]
    return (document.get(tag(path[-1]), {}).get("Value") or [None])[0]


def step(label: str = "segmentation", work: Item | None = None, **more: Any) -> Item:
    """Return a data set that a work item can be created from."""
    return item(
        ProcedureStepState="SCHEDULED",
        ScheduledProcedureStepPriority="MEDIUM",
        ProcedureStepLabel=label,
        WorklistLabel="AI",
        ScheduledProcedureStepStartDateTime="20260102101112",
        InputReadinessState="READY",
        ScheduledWorkitemCodeSequence=work or code("seg"),
        **more,
    )


def finished() -> Item:
    """Return what the final state requirements ask for before COMPLETED (PS3.4 Table CC.2.5-3)."""
    output = item(
        TypeOfInstances="DICOM",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.3.4",
        ReferencedSOPSequence=item(
            ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", ReferencedSOPInstanceUID="1.2.3.4.5"
        ),
    )
    return item(
        UnifiedProcedureStepPerformedProcedureSequence=item(
            PerformedStationNameCodeSequence=code("GPU1"),
            PerformedProcedureStepStartDateTime="20260102101500",
            PerformedWorkitemCodeSequence=code("seg"),
            PerformedProcedureStepEndDateTime="20260102101600",
            OutputInformationSequence=output,
        )
    )


@dataclass
class Ups:
    """Asks the worklist service at ``root``."""

    root: str
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30))

    def create(self, document: Item, uid: str = "") -> str:
        """Create a work item and return its UID."""
        answer = self.post(f"/workitems{'?' + uid if uid else ''}", document)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"].rpartition("/")[2]

    def post(self, path: str, document: Item | None = None, **headers: str) -> httpx.Response:
        if document is None:
            return self.http.post(self.root + path)
        return self.http.post(self.root + path, content=json.dumps([document]), headers=JSON | headers)

    def get(self, uid: str) -> Item:
        answer = self.http.get(f"{self.root}/workitems/{uid}", headers=JSON)
        assert answer.status_code == 200, answer.text
        [document] = answer.json()
        return dict(document)

    def search(self, query: str = "") -> list[Item]:
        answer = self.http.get(f"{self.root}/workitems?{query}", headers=JSON)
        assert answer.status_code in (200, 204), answer.text
        return list(answer.json()) if answer.status_code == 200 else []

    def labels(self, query: str) -> set[str]:
        return {value(document, "ProcedureStepLabel") for document in self.search(query)}

    def state(self, uid: str, wanted: str, transaction: str | None = TRANSACTION) -> httpx.Response:
        document = item(ProcedureStepState=wanted)
        if transaction is not None:
            document |= item(TransactionUID=transaction)
        return self.http.put(f"{self.root}/workitems/{uid}/state", content=json.dumps([document]), headers=JSON)

    def update(self, uid: str, document: Item, transaction: str | None = TRANSACTION) -> httpx.Response:
        query = f"?transaction={transaction}" if transaction else ""
        return self.post(f"/workitems/{uid}{query}", document)

    def subscribe(self, uid: str, aet: str = "WATCHER", query: str = "") -> httpx.Response:
        return self.http.post(f"{self.root}/workitems/{uid}/subscribers/{aet}{query}")

    def unsubscribe(self, uid: str, aet: str = "WATCHER") -> httpx.Response:
        return self.http.delete(f"{self.root}/workitems/{uid}/subscribers/{aet}")

    @contextmanager
    def channel(self, aet: str = "WATCHER", **options: Any) -> Iterator["Channel"]:
        with connect(f"ws{self.root.removeprefix('http')}/subscribers/{aet}", **options) as connection:
            yield Channel(connection)


@dataclass
class Channel:
    """An open event channel."""

    connection: ClientConnection

    def next(self, seconds: float = 10) -> Item:
        return dict(json.loads(self.connection.recv(timeout=seconds)))

    def until(self, wanted: Callable[[Item], bool], seconds: float = 30) -> list[Item]:
        """Return the events up to the one that is wanted."""
        seen: list[Item] = []
        deadline = time.monotonic() + seconds
        while not (seen and wanted(seen[-1])):
            seen.append(self.next(max(deadline - time.monotonic(), 0.01)))
        return seen

    def is_silent(self, seconds: float = 1.2) -> bool:
        try:
            self.next(seconds)
        except TimeoutError:
            return True
        return False


def event_type(event: Item) -> int:
    return int(value(event, "EventTypeID"))


def is_state(state: str) -> Callable[[Item], bool]:
    return lambda event: event_type(event) == 1 and value(event, "ProcedureStepState") == state

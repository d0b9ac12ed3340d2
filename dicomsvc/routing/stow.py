"""Sending by STOW-RS (PS3.18 10.5): one instance a request, over one connection, streamed from the file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dicomsvc import __version__
from dicomsvc.config import WebDestination
from dicomsvc.dimse.outgoing import Outgoing
from dicomsvc.errors import Cancelled, DamagedFile, DicomsvcError, OutOfResources, PeerFailure
from dicomsvc.routing.addresses import resolve
from dicomsvc.routing.http import HttpAnswer, HttpClient, Patience, Url
from dicomsvc.routing.ledger import Item
from dicomsvc.routing.packing import Packing
from dicomsvc.routing.statuses import Answer, Verdict, verdict_of, verdict_of_http
from dicomsvc.routing.storing import Progress
from dicomsvc.tls import ClientTls, client_context

_BOUNDARY: Final = "dicomsvc-forward"
_HEAD: Final = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_TAIL: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()
_PIECE_BYTES: Final = 1 << 20
_MOST_ANSWER_BYTES: Final = 1 << 20
_PATIENCE: Final = Patience(connect=10, step=300)
_MOST_TROUBLES: Final = 2
"""Instances in a row that the service had no room for, before it is left alone for now."""
_REFERENCED, _FAILED = "00081199", "00081198"
_WARNING_REASON, _FAILURE_REASON = "00081196", "00081197"
# Who we are, or where the service is, is what is wrong: it is so for all instances.
_OF_ALL: Final = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405, 407})


def stow_all(
    destination: WebDestination, items: Sequence[Item], packing: Packing, progress: Progress
) -> Iterator[Answer]:
    """Send instances and yield what became of each.

    Raises
    ------
    PeerFailure
        When the service cannot be reached, or refuses whatever is sent; those that no answer was yielded for are
        still to be sent.
    ConfigurationError
        When the destination's certificates cannot be read.
    """
    url = Url.parse(destination.url.rstrip("/") + "/studies")
    tls = None
    if url.scheme == "https":
        files = destination.certificate, destination.key, destination.ca
        tls = ClientTls(client_context(*files, "routing.destinations"))
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
        "Accept": "application/dicom+json",
        "User-Agent": f"dicomsvc/{__version__}",
    }
    if destination.token is not None:
        headers["Authorization"] = f"Bearer {destination.token.get_secret_value()}"
    try:
        addresses = resolve(url.host, url.port)
    except OSError as error:
        raise PeerFailure(f"{url.host} has no address that is known") from error
    troubles = 0
    with HttpClient(url, addresses, patience=_PATIENCE, tls=tls) as client:
        for item in items:
            answer = _send(client, url, headers, item, packing, progress)
            yield answer
            troubles = troubles + 1 if answer.verdict is Verdict.AGAIN else 0
            if troubles >= _MOST_TROUBLES:
                raise PeerFailure(answer.note)


def _send(
    client: HttpClient, url: Url, headers: dict[str, str], item: Item, packing: Packing, progress: Progress
) -> Answer:
    uid = item.sop_instance_uid
    try:
        with packing.packed(item) as file:
            if isinstance(file, str):
                return Answer(uid, Verdict.SKIPPED, note=file)
            length = len(_HEAD) + file.size + len(_TAIL)
            body = _body(file, progress)
            answer = client.post(url.target, headers, body, length, most=_MOST_ANSWER_BYTES)
            return read_answer(answer, uid, file.sop_instance_uid)
    except (Cancelled, OutOfResources, PeerFailure):
        raise
    except DicomsvcError as error:
        return Answer(uid, Verdict.FAILED, note=str(error))
    except OSError as error:
        return Answer(uid, Verdict.FAILED, note=f"the stored file cannot be read: {error.strerror}")


def _body(file: Outgoing, progress: Progress) -> Iterator[bytes | memoryview]:
    """Yield the request's body; what is not the file that came is not sent to its end."""
    yield _HEAD
    buffer = memoryview(bytearray(_PIECE_BYTES))
    left, digest = file.size, hashlib.sha256()
    try:
        with file.path.open("rb", buffering=0) as stream:
            while left:
                read = stream.readinto(buffer[: min(left, _PIECE_BYTES)])
                if not read:
                    raise DamagedFile("the stored file became shorter while it was sent")
                left -= read
                digest.update(buffer[:read])
                if not left and file.sha256 is not None and digest.digest() != file.sha256:
                    raise DamagedFile("the stored file is damaged; restore it from a backup")
                yield buffer[:read]
                progress(read)
    except OSError as error:
        raise DamagedFile(f"the stored file cannot be read: {error.strerror}") from error
    yield _TAIL


def read_answer(answer: HttpAnswer, uid: str, sent_as: str) -> Answer:
    """Return what a store response says of the instance (PS3.18 I.2).

    Raises
    ------
    PeerFailure
        When it is about us or about the service, not about the instance.
    """
    said = _parse(answer.body)
    failed = _first(said, _FAILED)
    if failed is not None and answer.status in (200, 202, 409):
        reason = _number(failed, _FAILURE_REASON) or 0xC000
        return Answer(uid, verdict_of(reason), reason, f"refused with Failure Reason {reason:#06x}", sent_as)
    if answer.status in _OF_ALL:
        raise PeerFailure(f"the service answers with HTTP status {answer.status}")
    verdict = verdict_of_http(answer.status)
    if verdict is not Verdict.SENT:
        return Answer(uid, verdict, answer.status, f"HTTP status {answer.status}", sent_as)
    warning = _number(_first(said, _REFERENCED) or {}, _WARNING_REASON)
    note = "" if warning is None else f"stored with Warning Reason {warning:#06x}"
    return Answer(uid, verdict, 0 if warning is None else warning, note, sent_as)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(said, list):
        said = said[0] if said else {}
    return said if isinstance(said, dict) else {}


def _first(said: dict[str, Any], tag: str) -> dict[str, Any] | None:
    items = (said.get(tag) or {}).get("Value") if isinstance(said.get(tag), dict) else None
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else None


def _number(item: dict[str, Any], tag: str) -> int | None:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], int) else None

"""Webhooks: a small signed JSON document that says what is there, and nothing of a patient."""

import hashlib
import hmac
import json
import time
from datetime import UTC
from typing import Final

from dicomsvc import __version__
from dicomsvc.config import RoutingSettings
from dicomsvc.errors import NotFound
from dicomsvc.routing.addresses import Resolver, checked_addresses, resolve
from dicomsvc.routing.forwards import Forward
from dicomsvc.routing.http import HttpClient, Patience, Url

_PATIENCE: Final = Patience(connect=5, step=5, whole=15)
_MOST_ANSWER_BYTES: Final = 4096
SIGNATURE_HEADER: Final = "X-Dicomsvc-Signature"
TIMESTAMP_HEADER: Final = "X-Dicomsvc-Timestamp"
DELIVERY_HEADER: Final = "X-Dicomsvc-Delivery"


def document_of(record: Forward) -> bytes:
    """Return what is posted; the same however often it is."""
    level = "study" if record.series_instance_uid is None else "series"
    document = {
        "event": f"{level}-stable",
        "rule": record.rule,
        "delivery": record.id,
        "at": record.created.astimezone(UTC).isoformat(timespec="seconds"),
        "study_instance_uid": record.study_instance_uid,
        "series_instance_uid": record.series_instance_uid,
        "instances": record.instances,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of the signature header: HMAC-SHA256 over timestamp, a full stop, and body."""
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def post_webhook(record: Forward, routing: RoutingSettings, *, resolver: Resolver = resolve) -> int:
    """Tell a webhook of a forward and return the HTTP status of its answer.

    Raises
    ------
    NotFound
        When the settings have no such webhook.
    NotAllowed
        When its host, or an address of it, may not be connected to.
    PeerFailure
        When it does not answer.
    """
    webhook = routing.webhooks.get(record.destination)
    if webhook is None:
        raise NotFound(f"there is no webhook {record.destination} in the settings")
    url = Url.parse(webhook.url)
    addresses = checked_addresses(url.host, url.port, routing, resolver)
    body, timestamp = document_of(record), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"dicomsvc/{__version__}",
        "Connection": "close",
        DELIVERY_HEADER: str(record.id),
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(webhook.secret.get_secret_value(), timestamp, body),
    }
    with HttpClient(url, addresses, patience=_PATIENCE) as client:
        return client.post(url.target, headers, [body], len(body), most=_MOST_ANSWER_BYTES).status

"""Events of the web service, from a request's ASGI scope and the instances that it named."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Engine

from dicomsvc.audit.events import InstancesAccessed, InstancesTransferred, Party, Query, Share
from dicomsvc.audit.journal import before_stop, record
from dicomsvc.dicom.uids import is_valid_uid

_SECONDS: Final = 2.0
_MOST_SEEN: Final = 10_000
_LONGEST_LIST: Final = 64
# /dicomweb/studies/{}/series/{}/instances/{}
_STUDY: Final = 3
_INSTANCE: Final = 7
_PARTS: Final = 8

Scope = Mapping[str, Any]


class Named(Protocol):
    """A stored instance, as the store's records have it."""

    @property
    def study_instance_uid(self) -> str: ...

    @property
    def sop_class_uid(self) -> str: ...

    @property
    def sop_instance_uid(self) -> str: ...


def shares_of(instances: Iterable[Named]) -> tuple[Share, ...]:
    """Return instances as shares of their studies."""
    counts: dict[str, Counter[str]] = {}
    listed: dict[str, dict[str, list[str]]] = {}
    for each in instances:
        counts.setdefault(each.study_instance_uid, Counter())[each.sop_class_uid] += 1
        some = listed.setdefault(each.study_instance_uid, {}).setdefault(each.sop_class_uid, [])
        if len(some) < _LONGEST_LIST:
            some.append(each.sop_instance_uid)
    return tuple(
        Share(study, None, dict(classes), {uid: tuple(some) for uid, some in listed[study].items()})
        for study, classes in counts.items()
    )


def user_of(scope: Scope) -> Party:
    """Return who makes a request, and from where."""
    return Party(str(scope.get("user", "anonymous")), address_of(scope))


def address_of(scope: Scope) -> str:
    """Return the client's address; that of a proxy on this machine stands for the client that it names."""
    client = scope.get("client")
    host = str(client[0]) if client else ""
    if host in ("127.0.0.1", "::1"):
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                # The last one is what the nearest proxy saw; those before it anybody may have written.
                return _address(value.decode("latin-1").rpartition(",")[2].strip()) or host
    return host


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def retrieved(scope: Scope, instances: Sequence[Named]) -> InstancesTransferred:
    """Return the event of instances that go to a client as they are stored."""
    return InstancesTransferred(peer=user_of(scope), inbound=False, pulled=True, shares=shares_of(instances))


def looked_at(scope: Scope, instances: Sequence[Named]) -> InstancesAccessed:
    """Return the event of instances of which a client sees metadata, values or pictures."""
    return InstancesAccessed(user=user_of(scope), shares=shares_of(instances))


def searched(scope: Scope) -> Query:
    """Return the event of a search."""
    return Query(user=user_of(scope), subject=scope["path"], query=scope["query_string"])


class Viewing:
    """Who looks at whose frames.

    A viewer asks for thousands of frames, so each costs an entry of a set; every two seconds the set becomes events,
    one for each client and study, which the trail tells as one for some minutes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: set[tuple[str, str, str]] = set()
        before_stop(engine, self.tell)

    def saw(self, scope: Scope) -> None:
        """Note a request for frames that was answered; within the event loop."""
        if not self._seen:
            asyncio.get_running_loop().call_later(_SECONDS, self.tell)
        path: str = scope["path"]
        self._seen.add((scope["user"], address_of(scope), path[: path.find("/frames/")]))
        if len(self._seen) > _MOST_SEEN:
            self.tell()

    def tell(self) -> None:
        """Record what was seen."""
        seen, self._seen = self._seen, set()
        if not seen:
            return
        shares: dict[tuple[str, str, str], list[str]] = {}
        for user, address, path in seen:
            parts = path.split("/")
            if len(parts) == _PARTS and is_valid_uid(parts[_STUDY]) and is_valid_uid(parts[_INSTANCE]):
                shares.setdefault((user, address, parts[_STUDY]), []).append(parts[_INSTANCE])
        record(
            self._engine,
            *(
                # The index knows their SOP classes.
                InstancesAccessed(user=Party(user, address), shares=(Share(study, None, {}, {"": tuple(instances)}),))
                for (user, address, study), instances in shares.items()
            ),
        )

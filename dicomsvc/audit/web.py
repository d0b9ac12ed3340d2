"""Events of the web service, from a request's ASGI scope and the instances that it named."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from sqlalchemy import Engine

from dicomsvc.audit.events import InstancesAccessed, InstancesTransferred, Query, UserAuthentication
from dicomsvc.audit.journal import before_stop, record
from dicomsvc.audit.message import Outcome
from dicomsvc.audit.parties import Party, Share
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import NotAuthenticated

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
    """Return the client's address: what `WebTrail.locate` found, else the other end of the connection."""
    client = scope.get("client")
    return str(scope.get("client_address") or (client[0] if client else ""))


def retrieved(scope: Scope, instances: Sequence[Named]) -> InstancesTransferred:
    """Return the event of instances that go to a client as they are stored."""
    return InstancesTransferred(peer=user_of(scope), inbound=False, pulled=True, shares=shares_of(instances))


def looked_at(scope: Scope, instances: Sequence[Named]) -> InstancesAccessed:
    """Return the event of instances of which a client sees metadata, values or pictures."""
    return InstancesAccessed(user=user_of(scope), shares=_named(instances))


def _named(instances: Iterable[Named]) -> tuple[Share, ...]:
    # Without their classes each counts once, however often it is looked at.
    listed: dict[str, list[str]] = {}
    for each in instances:
        listed.setdefault(each.study_instance_uid, []).append(each.sop_instance_uid)
    return tuple(Share(study, None, {}, {"": tuple(uids)}) for study, uids in listed.items())


def not_stored(scope: Scope, failures: Iterable[tuple[str, str]], description: str) -> InstancesTransferred:
    """Return the event of instances that a client sent and that were not stored, by SOP class and instance UID."""
    shares = Share("")
    for sop_class_uid, sop_instance_uid in failures:
        some = {sop_class_uid: (sop_instance_uid,)} if sop_instance_uid else {}
        shares = shares.joined(Share("", None, {sop_class_uid: 1}, some))
    return InstancesTransferred(
        peer=user_of(scope),
        inbound=True,
        shares=(shares,),
        outcome=Outcome.MINOR_FAILURE,
        description=description,
    )


def login_failed(scope: Scope) -> UserAuthentication:
    """Return the event of credentials that nobody has."""
    user = Party("unknown", address_of(scope))
    return UserAuthentication(user=user, outcome=Outcome.MINOR_FAILURE, description="the token is not known")


def searched(scope: Scope) -> Query:
    """Return the event of a search."""
    return Query(user=user_of(scope), subject=scope["path"], query=scope["query_string"])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class WebTrail:
    """Who looks at whose frames, and who is refused.

    A viewer asks for thousands of frames, so each costs an entry of a set; every two seconds the set becomes events,
    one for each client and study, which the trail tells as one for some minutes.
    """

    def __init__(self, engine: Engine, trusted_proxies: Sequence[str] = ()) -> None:
        self._engine = engine
        self._proxies = tuple(ipaddress.ip_network(each, strict=False) for each in trusted_proxies)
        self._is_proxy = lru_cache(maxsize=1024)(self._find_proxy)
        self._seen: set[tuple[str, str, str]] = set()
        before_stop(engine, self.tell)

    def locate(self, scope: MutableMapping[str, Any]) -> None:
        """Put the client's address into the scope of a request that came by a trusted proxy."""
        client = scope.get("client")
        if client is None or not self._is_proxy(client[0]):
            return
        passed = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        # Each proxy adds on the right whom it saw; what stands before the first that nobody trusts anybody may say.
        for each in reversed([part.strip() for part in passed.split(",")]):
            if not _is_address(each):
                return
            scope["client_address"] = each
            if not self._is_proxy(each):
                return

    def _find_proxy(self, host: str) -> bool:
        return _is_address(host) and any(ipaddress.ip_address(host) in network for network in self._proxies)

    def saw(self, scope: Scope) -> None:
        """Note a request for frames that was answered; within the event loop."""
        if not self._seen:
            asyncio.get_running_loop().call_later(_SECONDS, self.tell)
        path: str = scope["path"]
        self._seen.add((scope["user"], address_of(scope), path[: path.find("/frames/")]))
        if len(self._seen) > _MOST_SEEN:
            self.tell()

    def refused(self, scope: Scope, error: Exception) -> None:
        """Record that somebody sent credentials that nobody has."""
        if isinstance(error, NotAuthenticated) and any(name == b"authorization" for name, _ in scope["headers"]):
            record(self._engine, login_failed(scope))

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

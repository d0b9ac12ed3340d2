"""Subscribe, unsubscribe, suspend (PS3.18 11.10 to 11.12)."""

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.config import Settings
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.search import parse_query, query_pairs
from dicomsvc.dicomweb.urls import dicomweb_root
from dicomsvc.dicomweb.workitems.channel import require_ae_title
from dicomsvc.dicomweb.workitems.search import find_workitems
from dicomsvc.errors import BadRequest, NotFound
from dicomsvc.jobs.items import State
from dicomsvc.jobs.subscriptions import Subscriptions
from dicomsvc.store import Store
from dicomsvc.store.query import Key, parse_attribute
from dicomsvc.store.query.values import Texts

# PS3.6 A: UPS Global Subscription SOP Instance, UPS Filtered Global Subscription SOP Instance.
GLOBAL: Final = "1.2.840.10008.5.1.4.34.5"
FILTERED: Final = "1.2.840.10008.5.1.4.34.5.1"
_OPEN: Final = Key(parse_attribute("ProcedureStepState"), Texts((State.SCHEDULED, State.IN_PROGRESS)))


class Subscribers:
    """The routes below a work item's, or the worklist's, ``subscribers``."""

    def __init__(self, store: Store, settings: Settings, subscriptions: Subscriptions) -> None:
        self._store = store
        self._http = settings.http
        self._subscriptions = subscriptions

    def routes(self, path: str) -> list[BaseRoute]:
        return [
            Route(path, self.subscribe, methods=["POST"]),
            Route(path, self.unsubscribe, methods=["DELETE"]),
            Route(path + "/suspend", self.suspend, methods=["POST"]),
        ]

    async def subscribe(self, request: Request) -> Response:
        uid, aet = _resource(request), require_ae_title(request.path_params["aet"])
        lock, pairs = _parameters(request)
        if uid == GLOBAL:
            await run_in_threadpool(self._subscriptions.follow, aet, deletion_lock=lock)
        elif uid == FILTERED:
            if not pairs:
                raise BadRequest("a filtered subscription needs a filter (PS3.18 11.10.1.2)")
            keys = parse_query(pairs, 1).keys
            await run_in_threadpool(self._follow_some, aet, pairs, keys, lock)
        else:
            await run_in_threadpool(self._subscriptions.subscribe, aet, [uid], deletion_lock=lock)
        root = dicomweb_root(request.scope, self._http)
        channel = f"ws{root.removeprefix('http')}/subscribers/{aet.replace(' ', '%20')}"
        return Response(status_code=201, headers={"Content-Location": channel})

    def _follow_some(self, aet: str, pairs: list[tuple[str, str]], keys: tuple[Key, ...], lock: bool) -> None:
        self._subscriptions.follow(aet, keys=pairs, deletion_lock=lock)
        self._subscriptions.subscribe(aet, self._matching(keys), deletion_lock=lock, report=lock)

    def _matching(self, keys: tuple[Key, ...]) -> list[str]:
        """Return the UIDs of the work items that match and may still change."""
        return [item.uid for item in find_workitems(self._store, (*keys, _OPEN))]

    async def unsubscribe(self, request: Request) -> Response:
        uid, aet = _resource(request), require_ae_title(request.path_params["aet"])
        if uid in (GLOBAL, FILTERED):
            await run_in_threadpool(self._subscriptions.unsubscribe_all, aet)
        else:
            await run_in_threadpool(self._subscriptions.unsubscribe, aet, uid)
        return Response(status_code=200)

    async def suspend(self, request: Request) -> Response:
        uid, aet = _resource(request), require_ae_title(request.path_params["aet"])
        if uid not in (GLOBAL, FILTERED):
            raise NotFound("only a global subscription can be suspended (PS3.18 11.12)")
        await run_in_threadpool(self._suspend, aet)
        return Response(status_code=200)

    def _suspend(self, aet: str) -> None:
        listener = self._subscriptions.get(aet)
        if listener is not None and listener.follows == "filter":
            keys = parse_query(listener.filter, 1).keys
            uids = self._matching(keys)
            self._subscriptions.subscribe(aet, uids, deletion_lock=listener.deletion_lock, report=False)
        self._subscriptions.suspend(aet)


def _resource(request: Request) -> str:
    uid = str(request.path_params["workitem"])
    if not is_valid_uid(uid):
        raise BadRequest("the work item in the URL is not a UID")
    return uid


def _parameters(request: Request) -> tuple[bool, list[tuple[str, str]]]:
    """Return the deletion lock and the keys of a filter, which clients write as one parameter or as many."""
    lock = False
    keys: list[tuple[str, str]] = []
    for name, value in query_pairs(request.scope["query_string"]):
        if name == "deletionlock":
            if value.lower() not in ("true", "false"):
                raise BadRequest("deletionlock is either true or false")
            lock = value.lower() == "true"
        elif name == "filter":
            keys += [_pair(part) for part in value.split(",") if part]
        elif name not in ("accept", "charset"):
            keys.append((name, value))
    return lock, keys


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadRequest("a filter is a list of attribute=value")
    return name.strip(), value

"""The routes of the worklist service (PS3.18 Table 11.1.1-1)."""

import json
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from dicomsvc.audit import record
from dicomsvc.audit.web import searched
from dicomsvc.config import Settings
from dicomsvc.dicom.uids import is_valid_uid, new_uid
from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.dicomweb.media_types import DICOM_JSON, DICOM_XML, PLAIN_JSON, MediaType, choose, read_accept
from dicomsvc.dicomweb.search import MORE, parse_query, query_pairs, xml_response
from dicomsvc.dicomweb.urls import DICOMWEB_PATH, dicomweb_root
from dicomsvc.dicomweb.workitems.answers import (
    ALREADY_CANCELED,
    ALREADY_COMPLETED,
    CREATED_MODIFIED,
    UNREACHABLE,
    refusal,
    state_answer,
    update_answer,
    warning,
)
from dicomsvc.dicomweb.workitems.around import surroundings
from dicomsvc.dicomweb.workitems.channel import Channels
from dicomsvc.dicomweb.workitems.elements import elements, first
from dicomsvc.dicomweb.workitems.mapping import procedure_step
from dicomsvc.dicomweb.workitems.reading import (
    Performable,
    read_attributes,
    read_order,
    read_update,
)
from dicomsvc.dicomweb.workitems.search import search_workitems
from dicomsvc.dicomweb.workitems.subscribers import Subscribers
from dicomsvc.errors import BadRequest, Conflict
from dicomsvc.jobs import Jobs
from dicomsvc.jobs.items import State, WorkItem
from dicomsvc.jobs.steps import Steps
from dicomsvc.jobs.subscriptions import Subscriptions
from dicomsvc.jobs.transitions import tag_of
from dicomsvc.store import Store
from dicomsvc.store.query import Page

_WORKITEMS: Final = DICOMWEB_PATH + "/workitems"
_WORKITEM: Final = _WORKITEMS + "/{workitem}"
_XML_BODY: Final = MediaType("application/dicom+xml")
_UID_NAMES: Final = ("AffectedSOPInstanceUID", "workitem", "uid")
_TRANSACTION_NAMES: Final = ("transaction", "transaction-uid", "transactionuid")
_REQUESTED: Final = tuple(
    map(
        tag_of,
        (
            "ReasonForCancellation",
            "ProcedureStepDiscontinuationReasonCodeSequence",
            "ContactURI",
            "ContactDisplayName",
        ),
    )
)


def workitem_routes(
    store: Store, jobs: Jobs, settings: Settings, performable: Performable = lambda value, scheme: None
) -> list[BaseRoute]:
    """Return the routes of the worklist service.

    Parameters
    ----------
    performable
        Tells the work that our workers do by its Scheduled Workitem Code.
    """
    subscriptions = Subscriptions(store.engine)
    worklist = _Worklist(store, jobs, settings, performable, subscriptions)
    return [
        Route(_WORKITEMS, worklist.create, methods=["POST"]),
        Route(_WORKITEMS, worklist.search, methods=["GET"]),
        Route(_WORKITEM, worklist.retrieve, methods=["GET"]),
        Route(_WORKITEM, worklist.update, methods=["POST"]),
        Route(_WORKITEM + "/state", worklist.change_state, methods=["PUT"]),
        Route(_WORKITEM + "/cancelrequest", worklist.request_cancellation, methods=["POST"]),
        *Subscribers(store, settings, subscriptions).routes(_WORKITEM + "/subscribers/{aet}"),
        WebSocketRoute(DICOMWEB_PATH + "/subscribers/{aet}", Channels(store, subscriptions).serve),
    ]


class _Worklist:
    def __init__(
        self, store: Store, jobs: Jobs, settings: Settings, performable: Performable, subscriptions: Subscriptions
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._http = settings.http
        self._performable = performable
        self._subscriptions = subscriptions
        self._steps = Steps(store.engine)

    async def create(self, request: Request) -> Response:
        root = dicomweb_root(request.scope, self._http)
        attributes = await read_attributes(request)
        said = first(attributes, "SOPInstanceUID") or first(attributes, "AffectedSOPInstanceUID")
        uid = _query_uid(request, _UID_NAMES) or said or new_uid()
        if not isinstance(uid, str) or not is_valid_uid(uid):
            raise BadRequest("the work item's UID is none")
        order = read_order(attributes, self._performable)
        await run_in_threadpool(
            self._jobs.create,
            order.kind,
            order.inputs,
            _user(request),
            priority=order.priority,
            uid=uid,
            attributes=order.attributes,
            ready=order.ready,
        )
        url = f"{root}/workitems/{uid}"
        headers = {"Location": url, "Content-Location": url}
        return Response(status_code=201, headers=headers | (warning(root, CREATED_MODIFIED) if order.modified else {}))

    async def search(self, request: Request) -> Response:
        media_type = choose(read_accept(request.scope), (DICOM_JSON, DICOM_XML, PLAIN_JSON))
        query = parse_query(query_pairs(request.scope["query_string"]), self._http.search_limit)
        root = dicomweb_root(request.scope, self._http)
        record(self._store.engine, searched(request.scope))
        found = await run_in_threadpool(search_workitems, self._store, query, root)
        headers = {"Cache-Control": "no-store"} | ({"Warning": MORE} if found.more else {})
        if not found.documents:
            return Response(status_code=204, headers=headers)
        if media_type.multipart:
            page = Page(tuple(map(json.dumps, found.documents)), found.more)
            return await run_in_threadpool(xml_response, page, headers)
        body = json.dumps(found.documents, ensure_ascii=False).encode()
        return Response(body, headers=headers, media_type=media_type.content_type())

    async def retrieve(self, request: Request) -> Response:
        media_type = choose(read_accept(request.scope), (DICOM_JSON, PLAIN_JSON, _XML_BODY))
        root = dicomweb_root(request.scope, self._http)
        uid = _path_uid(request)
        document = await run_in_threadpool(self._document, uid, root)
        headers = {
            "Cache-Control": "no-store",
            "Content-Location": f"{root}/workitems/{uid}",
            "Content-Type": media_type.content_type(),
        }
        if media_type is _XML_BODY:
            return Response(dataset_xml(document), headers=headers)
        return Response(json.dumps([document], ensure_ascii=False).encode(), headers=headers)

    def _document(self, uid: str, root: str) -> dict[str, Any]:
        item = self._jobs.get(uid)
        return procedure_step(item, surroundings(self._store, [item], root))

    async def update(self, request: Request) -> Response:
        root = dicomweb_root(request.scope, self._http)
        uid = _path_uid(request)
        attributes = await read_attributes(request)
        transaction_uid = _query_uid(request, _TRANSACTION_NAMES) or str(first(attributes, "TransactionUID") or "")
        current = await run_in_threadpool(self._document, uid, root)
        verdict = await run_in_threadpool(self._steps.update, uid, transaction_uid, read_update(attributes, current))
        return update_answer(root, verdict, transaction_uid)

    async def change_state(self, request: Request) -> Response:
        root = dicomweb_root(request.scope, self._http)
        uid = _path_uid(request)
        attributes = await read_attributes(request)
        wanted = first(attributes, "ProcedureStepState")
        if wanted not in list(State):
            raise BadRequest("Procedure Step State (0074,1000) is IN PROGRESS, COMPLETED or CANCELED")
        transaction_uid = str(first(attributes, "TransactionUID") or "")
        if transaction_uid and not is_valid_uid(transaction_uid):
            raise BadRequest("the Transaction UID is none")
        verdict = await run_in_threadpool(self._steps.change_state, uid, State(wanted), transaction_uid)
        return state_answer(root, verdict, transaction_uid)

    async def request_cancellation(self, request: Request) -> Response:
        root = dicomweb_root(request.scope, self._http)
        uid = _path_uid(request)
        attributes = await read_attributes(request, empty=True)
        said = {tag: attributes[tag] for tag in _REQUESTED if tag in attributes}
        said |= elements(RequestingAE=_user(request)[:16])
        item = await run_in_threadpool(self._jobs.get, uid)
        if item.state is State.CANCELED:
            return Response(status_code=202, headers=warning(root, ALREADY_CANCELED))
        if item.state is not State.COMPLETED and not await run_in_threadpool(self._reachable, item):
            return refusal(root, 409, UNREACHABLE, "Nobody is subscribed to the work item.")
        try:
            await run_in_threadpool(self._jobs.request_cancel, uid, said)
        except Conflict:
            return refusal(root, 409, ALREADY_COMPLETED, "")
        return Response(status_code=202)

    def _reachable(self, item: WorkItem) -> bool:
        """Whether whoever has the work item can be told (PS3.4 CC.2.2.3)."""
        if not item.outside or item.state is not State.IN_PROGRESS:
            return True
        return self._subscriptions.anybody(item.uid)


def _user(request: Request) -> str:
    return str(request.scope.get("user", "anonymous"))


def _path_uid(request: Request) -> str:
    uid = str(request.path_params["workitem"])
    if not is_valid_uid(uid):
        raise BadRequest("the work item in the URL is not a UID")
    return uid


def _query_uid(request: Request, names: tuple[str, ...]) -> str:
    """Return a UID of the query: under one of these names, or alone (``?1.2.3``), as PS3.18 11 writes it."""
    lowered = {name.lower() for name in names}
    for name, value in query_pairs(request.scope["query_string"]):
        if name.lower() in lowered:
            return value
        if not value and is_valid_uid(name):
            return name
    return ""

"""The event channel (PS3.18 8.10.4): a WebSocket over which a subscriber hears of its work items.

What happened while it was not connected comes first. A report is sent at least once: should the connection break, those
whose arrival is not certain come again. What a client says over it is read and forgotten.
"""

import asyncio
import json
import logging
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from dicomsvc.dicomweb.search import parse_query
from dicomsvc.dicomweb.workitems.events import event_report
from dicomsvc.dicomweb.workitems.search import find_workitems
from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.jobs.subscriptions import Event, Subscriber, Subscriptions
from dicomsvc.store import Store
from dicomsvc.store.query import Key, parse_attribute
from dicomsvc.store.query.values import Texts

_log = logging.getLogger(__name__)
_LOOK_EVERY_SECONDS: Final = 0.5
_MOST_CHANNELS: Final = 256


class Channels:
    """The open event channels of this process."""

    def __init__(self, store: Store, subscriptions: Subscriptions) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._open = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one channel until the client goes.

        Raises
        ------
        BadRequest, OutOfResources
            Before the handshake is answered, so that it can be refused with a status.
        """
        aet = require_ae_title(websocket.path_params["aet"])
        if self._open >= _MOST_CHANNELS:
            raise OutOfResources(f"there are {_MOST_CHANNELS} event channels already; try again later")
        self._open += 1
        try:
            await websocket.accept()
            await self._serve(websocket, aet)
        except WebSocketDisconnect:
            pass
        finally:
            self._open -= 1

    async def _serve(self, websocket: WebSocket, aet: str) -> None:
        gone = asyncio.create_task(_until_gone(websocket))
        position: int | None = None
        try:
            while not gone.done():
                try:
                    position = await self._send_news(websocket, aet, position)
                except OutOfResources:
                    _log.warning("an event channel waits for the database")
                await asyncio.wait([gone], timeout=_LOOK_EVERY_SECONDS)
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _send_news(self, websocket: WebSocket, aet: str, position: int | None) -> int | None:
        """Send what is new after ``position``; return the new position, None while there is no subscription."""
        listener = await run_in_threadpool(self._subscriptions.get, aet)
        if listener is None:
            return None
        after = listener.position if position is None else position
        while events := await run_in_threadpool(self._subscriptions.events, listener, after):
            wanted = await run_in_threadpool(self._chosen, listener, events)
            for event in events:
                if event.uid in wanted or event.subscribed:
                    await websocket.send_text(json.dumps(event_report(event, event.sequence)))
            after = events[-1].sequence
            await run_in_threadpool(self._subscriptions.sent, aet, after)
        return after

    def _chosen(self, listener: Subscriber, events: list[Event]) -> set[str]:
        """Subscribe to the work items that match the subscriber's filter, and return their UIDs (PS3.4 CC.2.3.3.1)."""
        uids = {event.uid for event in events if event.subscribed is None}
        if not uids:
            return set()
        keys = parse_query(listener.filter, 1).keys
        uid = Key(parse_attribute("SOPInstanceUID"), Texts(tuple(sorted(uids)), wildcards=False))
        chosen = {item.uid for item in find_workitems(self._store, (*keys, uid))}
        self._subscriptions.subscribe(listener.aet, sorted(chosen), deletion_lock=listener.deletion_lock, report=False)
        return chosen


async def _until_gone(websocket: WebSocket) -> None:
    while websocket.client_state is WebSocketState.CONNECTED:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return


def require_ae_title(text: str) -> str:
    """Return an Application Entity Title (PS3.5 6.2, VR AE).

    Raises
    ------
    BadRequest
        When it is none.
    """
    aet = text.strip(" ")
    if not 0 < len(aet) <= 16 or not aet.isascii() or not aet.isprintable() or "\\" in aet:
        raise BadRequest("the subscriber in the URL is no Application Entity Title")
    return aet

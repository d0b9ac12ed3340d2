"""Bodies of JSON, read before the framework sees them: it would take one of any size into memory."""

from dicomsvc.errors import TooLarge
from dicomsvc.web.gate import AsgiApp, Message, Receive, Scope, Send

_LARGEST = 1 << 20
# The other routes read their bodies piece by piece, and have limits of their own.
_PATHS = (
    "/api/analyses",
    "/api/models",
    "/api/ihc/regions",
    "/api/slides/",
    "/api/reports/",
    "/api/peers",
    "/api/worklist",
)
_STREAMED = ("/api/reports/batch",)


class SmallBodies:
    """ASGI middleware that refuses large bodies where JSON is expected."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise `TooLarge` for a body that no JSON of ours has."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(_PATHS) or path in _STREAMED:
            await self._app(scope, receive, send)
            return
        read: Message | None = await _read(receive)

        async def replay() -> Message:
            nonlocal read
            if read is None:
                return await receive()
            message, read = read, None
            return message

        await self._app(scope, replay, send)


async def _read(receive: Receive) -> Message:
    """Return a request's whole body as one message, or the message that the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > _LARGEST:
            raise TooLarge(f"the body is larger than {_LARGEST >> 20} MiB")
        if not message.get("more_body", False):
            return {"type": "http.request", "body": bytes(body), "more_body": False}

"""Errors as answers: all have the body ``{"error": "what is wrong"}``, and none repeats what the client sent."""

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from dicomsvc.errors import DicomsvcError
from dicomsvc.web.gate import error_answer

_MOST_PROBLEMS = 10


async def tell_error(connection: HTTPConnection, error: Exception) -> Response:
    """Answer an error of ours; those of WebSockets are left to the gate, which can still refuse the handshake."""
    if not isinstance(error, DicomsvcError) or connection.scope["type"] != "http":
        raise error
    headers, body = error_answer(error)
    return Response(body, error.http_status, {name.decode(): value.decode() for name, value in headers})


async def tell_invalid(connection: HTTPConnection, error: Exception) -> Response:
    """Answer a request whose parameters or body are not what the route takes."""
    if not isinstance(error, RequestValidationError):
        raise error
    problems = error.errors()
    lines = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"and {len(problems) - _MOST_PROBLEMS} more")
    return JSONResponse({"error": "; ".join(lines)}, 422)


async def tell_http(connection: HTTPConnection, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths, methods that a path does not have."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _place(location: tuple[object, ...]) -> str:
    # A name that nobody knows may be anything, half of a character too.
    return ".".join(str(part).encode("ascii", "replace").decode()[:40] for part in location)

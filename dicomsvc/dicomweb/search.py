"""Search (QIDO-RS, PS3.18 10.6): the request's query string to a `Query`, its page to JSON or XML."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record
from dicomsvc.audit.web import searched
from dicomsvc.config import Settings
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.dicomweb.media_types import DICOM_JSON, DICOM_XML, PLAIN_JSON, choose, read_accept
from dicomsvc.dicomweb.urls import DICOMWEB_PATH, dicomweb_root
from dicomsvc.errors import BadRequest
from dicomsvc.store import Store
from dicomsvc.store.query import Attribute, Key, Level, Page, Query, parse_attribute, parse_match, search

_MAX_KEYS: Final = 64
_MAX_INCLUDES: Final = 256
_BOUNDARY: Final = "dicomsvc-search-result"
_FLAGS: Final = {"true": True, "false": False}
_OPTIONS: Final = frozenset(
    {
        "limit",
        "offset",
        "includefield",
        "fuzzymatching",
        "emptyvaluematching",
        "multiplevaluematching",
        "accept",
        "charset",
    }
)
# PS3.18 8.3.4.4: more results than were returned.
MORE: Final = '299 dicomsvc "There are additional results that can be requested"'


@dataclass(frozen=True, slots=True)
class SearchResource:
    """A resource that is searched, below the DICOMweb root."""

    path: str
    level: Level


RESOURCES: Final = (
    SearchResource("/studies", Level.STUDY),
    SearchResource("/series", Level.SERIES),
    SearchResource("/instances", Level.INSTANCE),
    SearchResource("/studies/{study}/series", Level.SERIES),
    SearchResource("/studies/{study}/instances", Level.INSTANCE),
    SearchResource("/studies/{study}/series/{series}/instances", Level.INSTANCE),
)


def search_routes(store: Store, settings: Settings) -> list[BaseRoute]:
    """Return the routes of the search transaction at all levels."""
    return [
        Route(DICOMWEB_PATH + resource.path, _endpoint(store, settings, resource.level), methods=["GET"])
        for resource in RESOURCES
    ]


def _endpoint(store: Store, settings: Settings, level: Level) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        media_type = choose(read_accept(request.scope), (DICOM_JSON, DICOM_XML, PLAIN_JSON))
        query = replace(
            parse_query(query_pairs(request.scope["query_string"]), settings.http.search_limit),
            study_instance_uid=path_uid(request, "study"),
            series_instance_uid=path_uid(request, "series"),
        )
        root = dicomweb_root(request.scope, settings.http)
        record(store.engine, searched(request.scope))
        page = await run_in_threadpool(search, store.engine, level, query, root=root)
        headers = {"Warning": MORE} if page.more else {}
        if media_type.multipart:
            return await run_in_threadpool(xml_response, page, headers)
        return Response(f"[{','.join(page.documents)}]".encode(), headers=headers, media_type=media_type.content_type())

    return endpoint


def xml_response(page: Page, headers: dict[str, str]) -> Response:
    """Return a page of results as ``multipart/related; type="application/dicom+xml"``."""
    if not page.documents:
        # A multipart body has at least one part (RFC 2046 5.1.1).
        return Response(status_code=204, headers=headers)
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom+xml\r\n\r\n".encode()
    parts = [head + dataset_xml(json.loads(document)) + b"\r\n" for document in page.documents]
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    return Response(body, headers={**headers, "Content-Type": DICOM_XML.content_type(_BOUNDARY)})


def path_uid(request: Request, name: str) -> str | None:
    """Return a UID of the request's path, None when the resource has no such.

    Raises
    ------
    BadRequest
        When it is none.
    """
    uid = request.path_params.get(name)
    if uid is None:
        return None
    if not is_valid_uid(uid):
        raise BadRequest(f"the {name} in the URL is not a UID")
    return str(uid)


def query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Return names and values of a query string.

    Raises
    ------
    BadRequest
        When it is not UTF-8, or has too many parameters.
    """
    fields = [field for field in query_string.split(b"&") if field]
    if len(fields) > _MAX_KEYS + _MAX_INCLUDES:
        raise BadRequest("the query has too many parameters")
    pairs = []
    for field in fields:
        name, _, value = field.decode("latin-1").partition("=")
        try:
            pairs.append((unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")))
        except UnicodeDecodeError:
            raise BadRequest("the query is not percent-encoded UTF-8") from None
    return pairs


def parse_query(pairs: Sequence[tuple[str, str]], search_limit: int) -> Query:
    """Return what the parameters of a search ask for; the page has at most ``search_limit`` results.

    Raises
    ------
    BadRequest
        When a parameter is wrong; the message names it.
    """
    options: dict[str, str] = {}
    asked: list[tuple[str, str]] = []
    includes: list[str] = []
    for name, value in pairs:
        if name == "includefield":
            includes.extend(part for part in value.split(",") if part)
        elif name in _OPTIONS:
            options[name] = value
        else:
            asked.append((name, value))
    if len(asked) > _MAX_KEYS or len(includes) > _MAX_INCLUDES:
        raise BadRequest(f"a search takes at most {_MAX_KEYS} keys and {_MAX_INCLUDES} values of includefield")
    everything = "all" in includes
    return Query(
        keys=_keys(asked, fuzzy=_flag(options, "fuzzymatching"), empty=_flag(options, "emptyvaluematching")),
        include=tuple(parse_attribute(name) for name in dict.fromkeys(includes) if name != "all"),
        everything=everything,
        limit=min(_number(options, "limit", search_limit), search_limit),
        offset=_number(options, "offset", 0),
    )


def _keys(asked: Iterable[tuple[str, str]], *, fuzzy: bool, empty: bool) -> tuple[Key, ...]:
    values: dict[Attribute, str] = {}
    for name, value in asked:
        attribute = parse_attribute(name)
        known = next((known for known in values if known.path == attribute.path), None)
        if known is None:
            values[attribute] = value
        elif attribute.vr == "UI":
            # PS3.18 8.3.4.1 has one parameter for an attribute; clients repeat it for lists of UIDs.
            values[known] += "," + value
        else:
            raise BadRequest(f"search key {attribute.name!r} is there twice")
    return tuple(
        Key(attribute, parse_match(attribute.name, attribute.vr, value, fuzzy=fuzzy, empty=empty))
        for attribute, value in values.items()
    )


def _flag(options: dict[str, str], name: str) -> bool:
    value = _FLAGS.get(options.get(name, "false").lower())
    if value is None:
        raise BadRequest(f"{name} is either true or false")
    return value


def _number(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name} is a number from 0")
    return int(text)

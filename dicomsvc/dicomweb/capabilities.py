"""What the service can do, for clients that ask (PS3.18 8.9, Annex H): WADL as XML or JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.config import Settings
from dicomsvc.dicomweb.media_types import PLAIN_JSON, MediaType, choose, read_accept
from dicomsvc.dicomweb.urls import DICOMWEB_PATH, dicomweb_root

_WADL: Final = MediaType("application/vnd.sun.wadl+xml")
_NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"
_JSON: Final = "application/dicom+json"
_XML_PARTS: Final = 'multipart/related; type="application/dicom+xml"'
_DICOM_PARTS: Final = 'multipart/related; type="application/dicom"'
_BYTES_PARTS: Final = 'multipart/related; type="application/octet-stream"'
_PICTURES: Final = ("image/jpeg", "image/png")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A method of a resource: media types taken and given, query parameters."""

    method: str
    name: str
    takes: Sequence[str] = ()
    gives: Sequence[str] = ()
    query: Sequence[str] = ()


_STORE = Transaction("POST", "StoreInstances", (_DICOM_PARTS, "application/dicom"), (_JSON, "application/dicom+xml"))
_QUERY: Final = ("fuzzymatching", "emptyvaluematching", "includefield", "limit", "offset")
_METADATA = Transaction("GET", "RetrieveMetadata", gives=(_JSON, _XML_PARTS))
_RENDERED = Transaction(
    "GET", "RetrieveRendered", gives=_PICTURES, query=("viewport", "quality", "iccprofile", "window")
)
_THUMBNAIL = Transaction("GET", "RetrieveThumbnail", gives=_PICTURES, query=("viewport",))
_DELETE = Transaction("DELETE", "Delete")


def _retrieve(*gives: str) -> Transaction:
    return Transaction("GET", "Retrieve", gives=gives)


def _search(name: str) -> Transaction:
    return Transaction("GET", name, gives=(_JSON, _XML_PARTS), query=_QUERY)


_STUDY: Final = "studies/{study}"
_SERIES: Final = _STUDY + "/series/{series}"
_INSTANCE: Final = _SERIES + "/instances/{instance}"
_WORKITEM: Final = "workitems/{workitem}"
_SUBSCRIBER: Final = _WORKITEM + "/subscribers/{aetitle}"
RESOURCES: Final[dict[str, tuple[Transaction, ...]]] = {
    "studies": (_search("SearchForStudies"), _STORE),
    "series": (_search("SearchForSeries"),),
    "instances": (_search("SearchForInstances"),),
    _STUDY: (_retrieve(_DICOM_PARTS), _STORE, _DELETE),
    f"{_STUDY}/metadata": (_METADATA,),
    f"{_STUDY}/rendered": (_RENDERED,),
    f"{_STUDY}/thumbnail": (_THUMBNAIL,),
    f"{_STUDY}/series": (_search("SearchForSeries"),),
    f"{_STUDY}/instances": (_search("SearchForInstances"),),
    _SERIES: (_retrieve(_DICOM_PARTS), _DELETE),
    f"{_SERIES}/metadata": (_METADATA,),
    f"{_SERIES}/rendered": (_RENDERED,),
    f"{_SERIES}/thumbnail": (_THUMBNAIL,),
    f"{_SERIES}/instances": (_search("SearchForInstances"),),
    _INSTANCE: (_retrieve(_DICOM_PARTS, "application/dicom"), _DELETE),
    f"{_INSTANCE}/metadata": (_METADATA,),
    f"{_INSTANCE}/rendered": (_RENDERED,),
    f"{_INSTANCE}/thumbnail": (_THUMBNAIL,),
    f"{_INSTANCE}/frames/{{frames}}": (
        Transaction("GET", "RetrieveFrames", gives=(f"{_BYTES_PARTS}; transfer-syntax=*", "application/octet-stream")),
    ),
    f"{_INSTANCE}/frames/{{frames}}/rendered": (_RENDERED,),
    f"{_INSTANCE}/bulkdata/{{path}}": (
        Transaction("GET", "RetrieveBulkdata", gives=(_BYTES_PARTS, "application/octet-stream")),
    ),
    "workitems": (
        _search("SearchForUPS"),
        Transaction("POST", "CreateUPS", (_JSON,), query=("AffectedSOPInstanceUID",)),
    ),
    _WORKITEM: (
        Transaction("GET", "RetrieveUPS", gives=(_JSON, "application/dicom+xml")),
        Transaction("POST", "UpdateUPS", (_JSON,), query=("transaction",)),
    ),
    f"{_WORKITEM}/state": (Transaction("PUT", "ChangeUPSState", (_JSON,)),),
    f"{_WORKITEM}/cancelrequest": (Transaction("POST", "RequestUPSCancellation", (_JSON,)),),
    _SUBSCRIBER: (
        Transaction("POST", "CreateSubscription", query=("deletionlock", "filter")),
        Transaction("DELETE", "DeleteSubscription"),
    ),
    f"{_SUBSCRIBER}/suspend": (Transaction("POST", "SuspendGlobalSubscription"),),
    "subscribers/{aetitle}": (Transaction("GET", "OpenEventChannel"),),
}


def capabilities_routes(settings: Settings) -> list[BaseRoute]:
    """Return the routes that describe the service."""

    async def capabilities(request: Request) -> Response:
        media_type = choose(read_accept(request.scope), (_WADL, PLAIN_JSON))
        root = dicomweb_root(request.scope, settings.http)
        body = capabilities_xml(root) if media_type is _WADL else json.dumps(capabilities_json(root)).encode()
        return Response(body, headers={"Content-Type": media_type.content_type()})

    return [Route(DICOMWEB_PATH + end, capabilities, methods=["OPTIONS"]) for end in ("", "/")]


def capabilities_xml(root: str) -> bytes:
    """Return the WADL document of the service at ``root``."""
    ElementTree.register_namespace("", _NAMESPACE)
    application = ElementTree.Element(f"{{{_NAMESPACE}}}application")
    resources = _child(application, "resources", base=f"{root}/")
    for path, transactions in RESOURCES.items():
        resource = _child(resources, "resource", path=path)
        for transaction in transactions:
            method = _child(resource, "method", name=transaction.method, id=transaction.name)
            request = _child(method, "request")
            for name in transaction.query:
                _child(request, "param", name=name, style="query")
            for media_type in transaction.takes:
                _child(request, "representation", mediaType=media_type)
            response = _child(method, "response")
            for media_type in transaction.gives:
                _child(response, "representation", mediaType=media_type)
    document: bytes = ElementTree.tostring(application, encoding="UTF-8", xml_declaration=True)
    return document


def _child(parent: ElementTree.Element, element: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, f"{{{_NAMESPACE}}}{element}", attributes)


def capabilities_json(root: str) -> dict[str, Any]:
    """Return the same as a JSON object: elements of one name are an array, XML attributes begin with ``@``."""
    return {
        "application": {
            "resources": {
                "@base": f"{root}/",
                "resource": [
                    {"@path": path, "method": [_method(transaction) for transaction in transactions]}
                    for path, transactions in RESOURCES.items()
                ],
            }
        }
    }


def _method(transaction: Transaction) -> dict[str, Any]:
    return {
        "@name": transaction.method,
        "@id": transaction.name,
        "request": {
            "param": [{"@name": name, "@style": "query"} for name in transaction.query],
            "representation": _representations(transaction.takes),
        },
        "response": {"representation": _representations(transaction.gives)},
    }


def _representations(media_types: Iterable[str]) -> list[dict[str, str]]:
    return [{"@mediaType": media_type} for media_type in media_types]

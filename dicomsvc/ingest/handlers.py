"""What the worker can do for this room: handler by kind of work item."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomsvc.ingest.conversions import convert
from dicomsvc.ingest.imports import import_files
from dicomsvc.jobs import Handler

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType({"convert": convert, "import": import_files})

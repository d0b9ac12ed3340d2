"""What workers do: the handlers of all rooms, by kind of work item."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomsvc.ai.handlers import HANDLERS as AI
from dicomsvc.ingest.handlers import HANDLERS as INGEST
from dicomsvc.jobs import Handler
from dicomsvc.reports.handlers import HANDLERS as REPORTS

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType({**INGEST, **AI, **REPORTS})

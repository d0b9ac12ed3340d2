"""What the worker can do for this room: handler by kind of work item."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.jobs import Handler

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType({"analyze": analyze})

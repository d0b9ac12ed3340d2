"""What the worker can do for this room: handler by kind of work item."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomsvc.jobs import Handler
from dicomsvc.routing.forwarding import KIND, forward

HANDLERS: Final[Mapping[str, Handler]] = MappingProxyType({KIND: forward})

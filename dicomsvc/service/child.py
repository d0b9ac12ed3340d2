"""What a role's process has in common, whoever started it.

A supervised process gets its settings as one line of JSON on standard input, which then stays open: its end means that
the supervisor is gone, and the process leaves at once. It says ``ready ADDRESS`` on standard output.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from dicomsvc.config import Settings

EXIT_CONFIGURATION = 3
_EXIT_ORPHANED = 4


def dump_settings(settings: Settings) -> str:
    """Return the settings, secrets included, as one line of JSON for `receive_settings`."""
    tree = settings.model_dump(mode="python")
    return json.dumps(tree, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def receive_settings() -> Settings:
    """Read the settings that a supervisor wrote, and leave when it goes."""
    tree: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_supervisor, name="supervisor-watch", daemon=True).start()
    return Settings(**tree)


def _leave_with_supervisor() -> None:
    # Below Python's buffers, whose lock would be held while this waits.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(_EXIT_ORPHANED)


def say_ready(address: str) -> None:
    """Tell whoever started this process that it answers, and where."""
    sys.stdout.write(f"ready {address}\n")
    sys.stdout.flush()


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    event = threading.Event()
    on_stop(event.set)
    return event


def on_stop(call: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call ``call`` instead of what they do."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: call())

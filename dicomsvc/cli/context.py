"""What commands share: the settings in force, and the store when a command needs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.config import Settings, load_settings
from dicomsvc.logs import configure_logging
from dicomsvc.store import Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the store and the embedded database.", show_default="./data"),
]


def settings_for(data: Path | None = None, **sections: dict[str, Any]) -> Settings:
    """Return the settings with the command line's values on top; unset (None) ones do not count."""
    arguments: dict[str, Any] = {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in sections.items()
        if any(value is not None for value in section.values())
    }
    if data is not None:
        arguments["data"] = data
    settings = load_settings(arguments)
    configure_logging(settings.log_level, as_json=settings.log_json)
    return settings


@contextmanager
def with_migrated_database(settings: Settings, *, keep_alive: bool = False) -> Iterator[Settings]:
    """Yield settings with a database URL whose schema is current; an embedded server runs until the end.

    With ``keep_alive`` it is started again whenever it dies.
    """
    ready, embedded = with_database(settings)
    try:
        if embedded is not None and keep_alive:
            embedded.keep_alive()
        engine = make_engine(ready.database)
        try:
            migrate(engine)
        finally:
            engine.dispose()
        yield ready
    finally:
        if embedded is not None:
            embedded.stop()


@contextmanager
def open_store(data: Path | None) -> Iterator[Store]:
    """Yield the store of the settings in force."""
    with with_migrated_database(settings_for(data)) as settings, Store(settings) as store:
        yield store

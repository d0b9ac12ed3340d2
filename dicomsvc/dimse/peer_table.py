"""The peers that were added at run time."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, Boolean, Column, DateTime, Engine, Integer, Table, Text, delete, func, insert, select
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError

from dicomsvc.audit import Event, record
from dicomsvc.config import PeerSettings
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import metadata

peer = Table(
    "peer",
    metadata,
    Column("name", Text, primary_key=True),
    Column("ae_title", Text, nullable=False, unique=True),
    Column("host", Text),
    Column("port", Integer, nullable=False),
    Column("tls", Boolean, nullable=False),
    Column("may", ARRAY(Text), nullable=False),
    Column("addresses", ARRAY(Text), nullable=False),
    Column("certificates", ARRAY(Text), nullable=False),
    Column("calling_ae_title", Text),
    Column("deidentify", Text),
    Column("changed", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)


def read_peers(engine: Engine) -> dict[str, PeerSettings]:
    """Return the peers by name.

    Raises
    ------
    OutOfResources
        When the database does not answer.
    """
    with database_errors(), engine.connect() as connection:
        rows = connection.execute(select(peer).order_by(peer.c.name)).mappings().all()
    return {row["name"]: PeerSettings(**{column: row[column] for column in PeerSettings.model_fields}) for row in rows}


def insert_peer(engine: Engine, name: str, settings: PeerSettings, event: Event) -> None:
    """Add a peer, and record the event with it.

    Raises
    ------
    Conflict
        When another one has its name or AE title.
    """
    with database_errors(), engine.begin() as connection:
        try:
            connection.execute(insert(peer).values(name=name, **_columns(settings)))
        except IntegrityError as error:
            raise Conflict(f"there is a peer {name}, or one with the AE title {settings.ae_title}") from error
        record(connection, event)


def update_peer(engine: Engine, name: str, settings: PeerSettings, event: Event) -> None:
    """Put ``settings`` in the place of those of a peer, and record the event with it.

    Raises
    ------
    NotFound
        When there is no such peer.
    Conflict
        When another one has its AE title.
    """
    change = sql_update(peer).where(peer.c.name == name)
    with database_errors(), engine.begin() as connection:
        try:
            done = connection.execute(change.values(**_columns(settings), changed=func.clock_timestamp()))
        except IntegrityError as error:
            raise Conflict(f"another peer has the AE title {settings.ae_title}") from error
        if not done.rowcount:
            raise NotFound(f"there is no peer {name}")
        record(connection, event)


def delete_peer(engine: Engine, name: str, event: Event) -> None:
    """Remove a peer, and record the event with it.

    Raises
    ------
    NotFound
        When there is no such peer.
    """
    with database_errors(), engine.begin() as connection:
        if not connection.execute(delete(peer).where(peer.c.name == name)).rowcount:
            raise NotFound(f"there is no peer {name}")
        record(connection, event)


def _columns(settings: PeerSettings) -> Mapping[str, Any]:
    values = settings.model_dump()
    return {**values, "may": sorted(values["may"])}

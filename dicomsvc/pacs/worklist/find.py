"""C-FIND of the Modality Worklist Information Model (PS3.4 K.4.1, K.6.1): the row of the DICOM service, its handler.

Entries that are completed or cancelled are not found. Items are read page by page, so that a list of any length costs
no memory, and no transaction waits for a slow scanner.
"""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, OperationalError

from dicomsvc.dimse import commands
from dicomsvc.dimse.audited import record_query
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.peers import Permission
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session
from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.pacs.border import answering
from dicomsvc.pacs.find import PENDING_WITH_UNSUPPORTED_KEYS
from dicomsvc.pacs.identifiers import UTF_8, encode_identifier
from dicomsvc.pacs.worklist.keys import Wanted, conditions, read_keys
from dicomsvc.store.database import database_errors
from dicomsvc.store.query.conditions import Parameters

MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
_PAGE: Final = 100
"""Items between two looks for a C-CANCEL."""
_TIME_LIMIT_MS: Final = 30_000
_CHARACTER_SET: Final = {"00080005": {"vr": "CS", "Value": [UTF_8]}}


def find(session: Session, message: Message) -> None:
    """Answer a query with the items that match, until all are sent or the scanner cancels."""
    identifier = session.read_data_set(message)
    record_query(session, message, identifier)
    wanted = read_keys(identifier)
    status = commands.PENDING if wanted.all_supported else PENDING_WITH_UNSUPPORTED_KEYS
    response = commands.encode_response(message.command, status, has_data_set=True)
    context, sent = message.context, 0
    most = session.store.settings.dimse.find_limit
    for page in pages(session.store.engine, wanted):
        if session.channel.cancelled(message.command.message_id):
            session.respond(message, commands.CANCELLED)
            return
        wished = page[: most - sent] if most else page
        items = (encode_identifier(attributes, wanted.shape, context.transfer_syntax) for attributes in wished)
        session.channel.send_messages(context.context_id, ((response, item) for item in items))
        sent += len(wished)
        if len(wished) < len(page):
            raise OutOfResources(f"more than {most} results: ask for something narrower")
    session.respond(message, commands.SUCCESS)


def pages(engine: Engine, wanted: Wanted) -> Iterator[list[dict[str, Any]]]:
    """Yield the items that match, as DICOM JSON, page by page, in the order in which they were entered.

    Raises
    ------
    BadRequest
        When PostgreSQL cannot evaluate a key.
    OutOfResources
        When the database does not answer, or not in time.
    """
    last = 0
    while True:
        parameters = Parameters()
        asked = conditions(wanted, parameters)
        where = " AND ".join((f"id > {parameters.add(last)}", "status NOT IN ('completed', 'cancelled')", *asked))
        tags = f"CAST({parameters.add(list(wanted.shape))} AS text[])"
        item = f"(SELECT jsonb_object_agg(key, value) FROM jsonb_each(attributes) WHERE key = ANY({tags}))"  # noqa: S608 - a parameter
        statement = f"SELECT id, {item} FROM worklist_entry WHERE {where} ORDER BY id LIMIT {_PAGE}"  # noqa: S608 - parameters, tags and our names only
        with database_errors(), engine.connect() as connection:
            rows = _run(connection, statement, parameters.values)
        if rows:
            last = rows[-1][0]
            yield [{**_CHARACTER_SET, **(attributes or {})} for _, attributes in rows]
        if len(rows) < _PAGE:
            return


def _run(connection: Connection, statement: str, values: dict[str, object]) -> list[tuple[int, dict[str, Any]]]:
    connection.exec_driver_sql(f"SELECT set_config('statement_timeout', '{_TIME_LIMIT_MS}', true)")
    try:
        return [(row[0], row[1]) for row in connection.exec_driver_sql(statement, values)]
    except DataError as error:
        raise BadRequest("a value of the query cannot be matched") from error
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "57014":
            raise OutOfResources("the query takes too long; ask for something more specific") from error
        raise


WORKLIST: Final = Service(
    commands.C_FIND_RQ,
    MODALITY_WORKLIST_FIND.__eq__,
    MESSAGE_SYNTAXES,
    answering("worklist query", find),
    permission=Permission.WORKLIST,
)

"""The way to PostgreSQL: engine, migrations, and which of its faults are ours to name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dicomsvc.config import DatabaseSettings
from dicomsvc.errors import ConfigurationError, OutOfResources

_MIGRATIONS = Path(__file__).parent / "migrations"
# Only one process migrates at a time; the number is the lock's name, nothing more.
_MIGRATION_LOCK = 0x44494353


def sqlalchemy_url(url: str) -> str:
    """Return a PostgreSQL URL in the form that names the driver."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def make_engine(settings: DatabaseSettings) -> Engine:
    """Build the engine for ``settings.url``, which must be set.

    Raises
    ------
    ConfigurationError
        When there is no URL.
    """
    if settings.url is None:
        raise ConfigurationError("database.url is not set and no embedded server was started")
    return create_engine(
        sqlalchemy_url(settings.url.get_secret_value()),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": 10, "application_name": "dicomsvc"},
    )


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn an unreachable or exhausted database into `OutOfResources`; faults of our SQL stay what they are."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise OutOfResources("the database does not answer; try again later") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise OutOfResources("the connection to the database was lost; try again later") from error
        raise


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def migrate(engine: Engine) -> str:
    """Bring the schema to this version's state and return that revision."""
    with database_errors(), engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        command.upgrade(_alembic(connection), "head")
        return MigrationContext.configure(connection).get_current_revision() or ""


def require_current_schema(engine: Engine) -> None:
    """Raise `ConfigurationError` when the schema is of another version."""
    with database_errors(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        wanted = ScriptDirectory.from_config(_alembic(connection)).get_current_head()
    if current != wanted:
        raise ConfigurationError(
            f"the database has schema {current or 'none'}, this version needs {wanted}: run `dicomsvc migrate`"
        )

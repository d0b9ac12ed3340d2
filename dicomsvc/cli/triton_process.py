"""The process that ``dicomsvc triton up`` leaves behind: keeps the model server until SIGTERM.

Its argument is the command that it tells whoever asks.
"""

import json
import sys

from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.triton.keeper import Keeper
from dicomsvc.config import Settings
from dicomsvc.errors import DicomsvcError
from dicomsvc.logs import configure_logging
from dicomsvc.service.child import EXIT_CONFIGURATION, say_ready, stop_event


def main() -> int:
    settings = Settings(**json.loads(sys.stdin.readline()))
    configure_logging(settings.log_level, as_json=settings.log_json)
    stop = stop_event()
    try:
        keeper = Keeper(settings, Catalogue(settings), sys.argv[1])
        keeper.run(stop, lambda: say_ready(keeper.status.describe()))
    except DicomsvcError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())

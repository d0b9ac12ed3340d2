"""A peer that does nothing but ask for C-ECHO: ``python -m tests.faults.echoes PORT``, until its input ends.

It prints the seconds that each answer took, association included, one a line; ``failed`` where there was none.
"""

import select
import sys

from dicomsvc.dimse import Peer, echo
from dicomsvc.errors import PeerFailure

_PAUSE_SECONDS = 0.05


def main() -> None:
    peer = Peer("127.0.0.1", int(sys.argv[1]), connect_timeout_seconds=10, response_timeout_seconds=10)
    while True:
        try:
            answer = f"{echo(peer):.6f}"
        except PeerFailure:
            answer = "failed"
        print(answer, flush=True)
        if select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
            return


if __name__ == "__main__":
    main()

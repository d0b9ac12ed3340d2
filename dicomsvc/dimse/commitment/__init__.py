"""Storage Commitment Push Model (PS3.4 J), as its SCU; what both sides share is in `model`.

In goes a list of instances and a peer; out comes, soon or hours later, what the peer has taken responsibility for.
`request_commitment` asks, `commitment_result` tells, `EVENTS` takes the reports of archives that call back,
`ask_again` asks again what was not taken or not answered. All of it lies in tables, so any process may ask and any
may be told.
"""

from dicomsvc.dimse.commitment.asked import (
    AskedRequest,
    AskedState,
    CommitmentResult,
    ask_anew,
    commitment_result,
    count_requests,
    forget_requests,
    latest_requests,
)
from dicomsvc.dimse.commitment.asking import MOST_INSTANCES, ask_again, request_commitment
from dicomsvc.dimse.commitment.events import EVENTS

__all__ = [
    "EVENTS",
    "MOST_INSTANCES",
    "AskedRequest",
    "AskedState",
    "CommitmentResult",
    "ask_again",
    "ask_anew",
    "commitment_result",
    "count_requests",
    "forget_requests",
    "latest_requests",
    "request_commitment",
]

"""Storage Commitment Push Model (PS3.4 J), as its SCP.

In comes an N-ACTION that names instances; out goes, at once or after hours, an N-EVENT-REPORT that says for which of
them this node takes responsibility: those that are stored, of the class named, and whose file has the bytes it came
with. `REQUESTS` and `RESPONSES` are the rows of services, `CommitmentUpkeep` runs beside them, `Commitments` tells
people what was asked and answered. Its other side, asking other archives, is `dicomsvc.dimse.commitment`.
"""

from dicomsvc.pacs.commitment.records import Commitment, Commitments, State
from dicomsvc.pacs.commitment.service import REQUESTS, RESPONSES
from dicomsvc.pacs.commitment.upkeep import CommitmentUpkeep

__all__ = ["REQUESTS", "RESPONSES", "Commitment", "CommitmentUpkeep", "Commitments", "State"]

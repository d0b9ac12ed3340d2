"""The one way in for reports, whatever way they come."""

from sqlalchemy import Engine

from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport
from dicomsvc.reports.intake.structuring import structure_quietly
from dicomsvc.reports.repository.receiving import Receipt, cleaned, enter, objection
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors


class Intake:
    """Takes reports into the database of ``store``."""

    def __init__(self, store: Store) -> None:
        self._engine: Engine = store.engine

    def receive(self, received: ReceivedReport, who: str, *, structure: bool = True) -> Receipt:
        """Make a report durable and link it to its study or hold it; then structure it, unless a worker is to.

        Raises
        ------
        OutOfResources
            When the database does not take it now.
        """
        receipt = self.keep(received, who)
        if structure and receipt.outcome.answer is Answer.ACCEPTED and receipt.uid is not None:
            structure_quietly(self._engine, receipt.uid, receipt.version)
        return receipt

    def keep(self, received: ReceivedReport, who: str) -> Receipt:
        """Make a report durable and link it; it waits to be structured."""
        report = cleaned(received)
        reason = objection(report)
        if reason is not None:
            return Receipt(Outcome(Answer.REJECTED, reason))
        with database_errors(), self._engine.begin() as connection:
            return enter(connection, report, who)

"""N-EVENT-REPORT: telling a requestor what became of its request (PS3.4 J.3.3, PS3.7 10.1.1)."""

from dataclasses import replace
from typing import Final

from dicomsvc.dimse.channel import AcceptedContext, MessageChannel
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    EVENT_TYPE_ID,
    N_EVENT_REPORT_RQ,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.commitment.codec import encode_event
from dicomsvc.dimse.commitment.model import SOP_CLASS, WELL_KNOWN_INSTANCE, EventInformation
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.failures import ConnectionEnded
from dicomsvc.dimse.pdu import ProposedContext, RoleSelection
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.errors import PeerFailure

_RESPONSE_SECONDS: Final = 60.0
_MAX_MESSAGE_ID: Final = 0xFFFF
# Attribute list error, attribute value out of range, optional attributes not supported (PS3.7 C.4).
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def is_delivered(status: int | None) -> bool:
    """Whether a response says that the requestor has the report."""
    return status is not None and (status == SUCCESS or status in _WARNINGS or status >> 12 == 0xB)


def refusal(status: int | None) -> str:
    return f"the requestor answers the report with status {status or 0:#06x}"


def send_report(
    channel: MessageChannel,
    context: AcceptedContext,
    message_id: int,
    event: EventInformation,
    retrieve_ae_title: str,
) -> None:
    """Send a report; its response is for the caller to wait for."""
    elements: dict[int, int | str] = {
        AFFECTED_SOP_CLASS_UID: SOP_CLASS,
        AFFECTED_SOP_INSTANCE_UID: WELL_KNOWN_INSTANCE,
        EVENT_TYPE_ID: event.event_type,
    }
    encoded = encode_event(event, retrieve_ae_title, context.transfer_syntax)
    channel.send_command(context.context_id, encode_request(N_EVENT_REPORT_RQ, message_id, elements))
    channel.send_data_set(context.context_id, encoded)


class Reporting:
    """An association for reports: its requestor proposes itself as the SCP (PS3.4 J.3.3, PS3.7 D.3.3.4).

    A peer that accepts the presentation context and leaves the proposal of roles unanswered is reported to all the
    same: many an implementation takes reports without knowing of role selection, and others answer with a failure.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, or refuses.
    """

    def __init__(self, peer: Peer, retrieve_ae_title: str) -> None:
        peer = replace(peer, response_timeout_seconds=min(peer.response_timeout_seconds, _RESPONSE_SECONDS))
        self._retrieve_ae_title = retrieve_ae_title
        self._message_id = 0
        proposed = [ProposedContext(1, SOP_CLASS, MESSAGE_SYNTAXES)]
        roles = [RoleSelection(SOP_CLASS, scu=False, scp=True)]
        self.association = Association(peer, proposed, roles=roles)
        context = next(iter(self.association.contexts.values()), None)
        if context is None:
            self.association.release()
            raise PeerFailure(f"{peer.called_ae_title} does not take reports of storage commitment")
        self._context = context

    def send(self, event: EventInformation) -> int | None:
        """Send a report and return the status it is answered with.

        Raises
        ------
        PeerFailure
            When the peer breaks the association, or does not answer.
        """
        self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
        channel = self.association.channel
        try:
            send_report(channel, self._context, self._message_id, event, self._retrieve_ae_title)
        except ConnectionEnded as error:
            raise PeerFailure(f"the peer ended the association: {error}") from error
        return self.association.response(self._message_id).command.status

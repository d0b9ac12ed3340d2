"""The requesting side of an association (PS3.8 7.1)."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydicom import Dataset

from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.dimse import pdu
from dicomsvc.dimse.channel import AcceptedContext, Message, MessageChannel
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.stream import PduStream
from dicomsvc.errors import PeerFailure
from dicomsvc.tls import ClientTls, failure_of_handshake

_MAXIMUM_LENGTH = 1 << 17
_REJECTIONS = {
    pdu.APPLICATION_CONTEXT_NOT_SUPPORTED: "it does not speak DICOM's application context",
    pdu.CALLING_AE_TITLE_NOT_RECOGNIZED: "it does not know our AE title",
    pdu.CALLED_AE_TITLE_NOT_RECOGNIZED: "it has another AE title than the one called",
    pdu.LOCAL_LIMIT_EXCEEDED: "it has too many associations; try again later",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Where and as whom an application entity is called, and how long it may take."""

    host: str
    port: int
    called_ae_title: str = "ANY-SCP"
    calling_ae_title: str = "DICOMSVC"
    connect_timeout_seconds: float = 10
    pdu_timeout_seconds: float = 60
    response_timeout_seconds: float = 600
    tls: ClientTls | None = None
    """With it, the connection starts with a TLS handshake."""


class Association:
    """An association that this node asked for; as a context manager it is released at the end, or aborted on an error.

    Parameters
    ----------
    roles
        Roles that this side proposes to take, for SOP classes of which it is not the SCU alone (PS3.7 D.3.3.4).

    Attributes
    ----------
    address
        IP address of the peer.
    contexts
        What was agreed on, by abstract and transfer syntax.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached or refuses; later, when it breaks the association.
    """

    def __init__(
        self,
        peer: Peer,
        proposed: Sequence[pdu.ProposedContext],
        *,
        roles: Sequence[pdu.RoleSelection] = (),
    ) -> None:
        try:
            connection = socket.create_connection((peer.host, peer.port), peer.connect_timeout_seconds)
            self.address: str = connection.getpeername()[0]
        except OSError as error:
            raise PeerFailure(
                f"{peer.host}:{peer.port} cannot be reached: {error.strerror or 'no answer in time'}"
            ) from error
        if peer.tls is not None:
            try:
                connection = peer.tls.secure(connection, peer.host)
            except OSError as error:
                connection.close()
                reason = failure_of_handshake(error)
                raise PeerFailure(f"{peer.host}:{peer.port}: the TLS handshake failed: {reason}") from error
        self._stream = PduStream(
            connection,
            pdu_timeout_seconds=peer.pdu_timeout_seconds,
            idle_timeout_seconds=peer.response_timeout_seconds,
        )
        self.contexts: dict[tuple[str, str], AcceptedContext] = {}
        try:
            self._channel = self._associate(peer, proposed, roles)
        except (ConnectionEnded, ProtocolViolation) as error:
            self._stream.close()
            raise PeerFailure(f"{peer.host}:{peer.port} gave no association: {error}") from error
        except PeerFailure:
            self._stream.close()
            raise

    def _associate(
        self, peer: Peer, proposed: Sequence[pdu.ProposedContext], roles: Sequence[pdu.RoleSelection]
    ) -> MessageChannel:
        user = pdu.UserInformation(_MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, tuple(roles))
        request = pdu.AssociateRequest(peer.called_ae_title, peer.calling_ae_title, tuple(proposed), user)
        self._stream.write(pdu.encode_associate_request(request))
        kind, body = self._stream.read()
        if kind == pdu.A_ASSOCIATE_RJ:
            rejection = pdu.decode_rejection(body)
            reason = _REJECTIONS.get(rejection, f"result, source, reason: {rejection}")
            raise PeerFailure(f"{peer.host}:{peer.port} rejects the association: {reason}")
        if kind != pdu.A_ASSOCIATE_AC:
            raise ProtocolViolation("the answer is no A-ASSOCIATE-AC", pdu.UNEXPECTED_PDU)
        accept = pdu.decode_associate_accept(body)
        provided = {role.sop_class_uid for role in accept.user.roles if role.scp}
        wanted = {context.context_id: context for context in proposed}
        accepted: dict[int, AcceptedContext] = {}
        for result in accept.contexts:
            asked = wanted.get(result.context_id)
            if asked is not None and result.result == pdu.ACCEPTED:
                context = AcceptedContext(
                    result.context_id,
                    asked.abstract_syntax,
                    result.transfer_syntax,
                    asked.abstract_syntax in provided,
                )
                accepted[result.context_id] = context
                self.contexts[context.abstract_syntax, context.transfer_syntax] = context
        return MessageChannel(self._stream, accepted, accept.user.maximum_length)

    def syntaxes(self, abstract_syntax: str) -> frozenset[str]:
        """Return the transfer syntaxes in which the peer accepted an abstract syntax."""
        return frozenset(transfer for abstract, transfer in self.contexts if abstract == abstract_syntax)

    @property
    def channel(self) -> MessageChannel:
        return self._channel

    def send(self, context: AcceptedContext, request: bytes, data_set: Dataset | None = None) -> None:
        """Send an encoded request, with its data set when it has one.

        Raises
        ------
        PeerFailure
            When the connection is gone.
        """
        try:
            self._channel.send_command(context.context_id, request)
            if data_set is not None:
                encoded = encode_data_set(data_set, context.transfer_syntax)
                self._channel.send_data_set(context.context_id, encoded)
        except ConnectionEnded as error:
            raise PeerFailure(f"the peer ended the association: {error}") from error

    def response(self, message_id: int) -> Message:
        """Wait for the response to a request of ours.

        Raises
        ------
        PeerFailure
            When something else comes, or nothing.
        """
        try:
            message = self._channel.receive()
        except (ConnectionEnded, ProtocolViolation) as error:
            raise PeerFailure(f"no response came: {error}") from error
        if message is None or message.command.message_id_being_responded_to != message_id:
            raise PeerFailure("the peer sent something else than the response")
        return message

    def release(self) -> None:
        """End the association in order."""
        try:
            self._stream.write(pdu.encode_release_request())
            while self._stream.read()[0] not in (pdu.A_RELEASE_RP, pdu.A_ABORT):
                pass
        except (ConnectionEnded, ProtocolViolation):
            # What was to be said has been said and answered.
            pass
        finally:
            self._stream.close()

    def abort(self) -> None:
        """End the association at once."""
        try:
            self._stream.write(pdu.encode_abort())
        except ConnectionEnded:
            pass
        finally:
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

"""One connection to the service, from its first byte to its last, in a thread of its own."""

import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicomsvc.config import DimseSettings
from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.dimse import pdu
from dicomsvc.dimse.admission import Admitted, Caller, Certificate, NotAdmitted, admit
from dicomsvc.dimse.audited import record_forbidden, record_rejection
from dicomsvc.dimse.channel import Message, MessageChannel
from dicomsvc.dimse.commands import C_STORE_RQ, NOT_AUTHORIZED, UNRECOGNIZED_OPERATION
from dicomsvc.dimse.contexts import Offer, negotiate, negotiate_roles, offer_as_stored
from dicomsvc.dimse.counters import Counters
from dicomsvc.dimse.failures import ConnectionEnded, NodeStopping, PeerTimedOut, ProtocolViolation
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.dimse.services import Services
from dicomsvc.dimse.session import Session
from dicomsvc.dimse.stream import PduStream
from dicomsvc.errors import OutOfResources
from dicomsvc.logs import places
from dicomsvc.store import Store
from dicomsvc.tls import failure_of_handshake

_log = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Node:
    """What all connections share."""

    settings: DimseSettings
    services: Services
    store: Store
    peers: KnownPeers
    counters: Counters
    admit: Callable[["Connection"], bool]
    """Called when a connection asks for an association; false: there are too many."""
    stopping: Callable[[], bool]


class Connection:
    """A connection that a peer opened; with ``tls`` it starts with a handshake."""

    def __init__(self, node: Node, accepted: socket.socket, address: str, tls: ssl.SSLContext | None = None) -> None:
        self._node = node
        self._socket = accepted
        self._address = address
        self._tls = tls
        self._certificate: Certificate | None = None
        self._admitted = Admitted(None, frozenset())
        self._associated = False
        self._released = False
        self._stream: PduStream | None = None

    def interrupt(self) -> None:
        """End the connection from another thread."""
        try:
            # Not `SSLSocket.shutdown`, which takes the TLS state away from under the connection's own thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            _log.debug("the connection to interrupt was gone already")

    def serve(self) -> None:
        """Speak with the peer until the association ends; raises nothing."""
        try:
            self._secure()
            self._stream = stream = self._open_stream()
            self._speak(stream)
        except ProtocolViolation as violation:
            _log.warning("association with %s aborted: %s", self._address, violation)
            self._abort(violation.reason)
        except PeerTimedOut as ended:
            _log.warning("association with %s aborted: %s", self._address, ended)
            self._abort(pdu.REASON_NOT_SPECIFIED)
        except NodeStopping:
            self._abort(pdu.REASON_NOT_SPECIFIED)
        except ConnectionEnded as ended:
            if self._associated:
                _log.info("association with %s ended early: %s", self._address, ended)
        except OSError as error:
            _log.info("connection from %s ended: %s", self._address, error.strerror or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the border: one peer's connection must not harm the service
            _log.error("connection from %s failed\n%s", self._address, places(error))
            self._abort(pdu.REASON_NOT_SPECIFIED)
        finally:
            self._node.counters.ended(
                released=self._released,
                associated=self._associated,
                bytes_received=self._stream.bytes_read if self._stream else 0,
            )

    def close(self) -> None:
        """Close once the peer has, or a second later; after `serve`."""
        if self._stream is not None:
            self._stream.linger(_LINGER_SECONDS)
        self._socket.close()

    def _secure(self) -> None:
        # The handshake waits for the peer, so it happens here and not in the accept loop.
        if self._tls is None:
            return
        self._socket.settimeout(self._node.settings.pdu_timeout_seconds)
        secured = self._tls.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        try:
            secured.do_handshake()
        except OSError as error:
            level = logging.WARNING if isinstance(error, ssl.SSLError) else logging.INFO
            _log.log(level, "TLS handshake with %s failed: %s", self._address, failure_of_handshake(error))
            if level == logging.WARNING:
                self._let_alert_arrive(secured)
                record_rejection(self._node.store.engine, "", self._address, failure_of_handshake(error))
            raise ConnectionEnded("no TLS") from error
        self._certificate = Certificate.of(secured)

    def _let_alert_arrive(self, secured: ssl.SSLSocket) -> None:
        # A close with bytes unread would be a reset, which overtakes the alert; `PduStream.linger` reads them.
        try:
            secured.shutdown(socket.SHUT_WR)
            self._stream = self._open_stream()
        except OSError:
            _log.debug("the peer was gone before the alert could reach it")

    def _open_stream(self) -> PduStream:
        settings = self._node.settings
        return PduStream(
            self._socket,
            pdu_timeout_seconds=settings.pdu_timeout_seconds,
            idle_timeout_seconds=settings.pdu_timeout_seconds,
            stopping=self._node.stopping,
        )

    def _abort(self, reason: int) -> None:
        try:
            if self._stream is not None:
                self._stream.write(pdu.encode_abort(reason))
        except ConnectionEnded:
            _log.debug("the peer was gone before it could be told")

    def _speak(self, stream: PduStream) -> None:
        kind, body = stream.read(between_messages=True)
        if kind != pdu.A_ASSOCIATE_RQ:
            raise ProtocolViolation("the first PDU is no A-ASSOCIATE-RQ", pdu.UNEXPECTED_PDU)
        request = pdu.decode_associate_request(body)
        objection = self._objection(request)
        if objection is not None:
            rejection, why = objection
            _log.warning("association from %s at %s rejected: %s", request.calling_ae_title, self._address, why)
            self._node.counters.rejected(rejection.reason)
            self._released = True
            stream.write(pdu.encode_rejection(rejection))
            record_rejection(self._node.store.engine, request.calling_ae_title, self._address, why)
            return
        self._associated = True
        self._node.counters.associated()
        stream.idle_timeout_seconds = self._node.settings.idle_timeout_seconds
        self._serve_messages(self._accept(stream, request))

    def _objection(self, request: pdu.AssociateRequest) -> tuple[pdu.Rejection, str] | None:
        """Return with what, and why, the association is rejected; None: it is not (PS3.8 9.3.4)."""
        settings = self._node.settings
        if not request.protocol_version & 1:
            return pdu.PROTOCOL_VERSION_NOT_SUPPORTED, "it speaks another version of the protocol"
        if request.application_context != pdu.APPLICATION_CONTEXT:
            return pdu.APPLICATION_CONTEXT_NOT_SUPPORTED, "it does not speak DICOM's application context"
        if settings.require_called_ae_title and request.called_ae_title != settings.ae_title:
            return pdu.CALLED_AE_TITLE_NOT_RECOGNIZED, f"it calls {request.called_ae_title}"
        caller = Caller(request.calling_ae_title, self._address, self._certificate)
        try:
            self._admitted = admit(caller, self._node.peers.glance(), settings)
        except NotAdmitted as reason:
            return pdu.CALLING_AE_TITLE_NOT_RECOGNIZED, str(reason)
        if not self._node.admit(self):
            return pdu.LOCAL_LIMIT_EXCEEDED, f"{settings.max_associations} are open already"
        return None

    def _accept(self, stream: PduStream, request: pdu.AssociateRequest) -> Session:
        services = self._node.services
        roles = negotiate_roles(request.user.roles, services.offer, services.peer_may_provide)
        provided = frozenset(role.sop_class_uid for role in roles if role.scp)
        results, accepted = negotiate(request.contexts, self._offer_for(provided), provided)
        answer = pdu.AssociateAccept(
            request.called_ae_title,
            request.calling_ae_title,
            results,
            pdu.UserInformation(
                self._node.settings.max_pdu, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, roles
            ),
        )
        stream.write(pdu.encode_associate_accept(answer))
        _log.info("association from %s at %s: %d contexts", request.calling_ae_title, self._address, len(accepted))
        return Session(
            MessageChannel(stream, accepted, request.user.maximum_length),
            self._node.store,
            self._node.counters,
            request.calling_ae_title,
            self._address,
            self._admitted.peer,
            self._admitted.may,
        )

    def _offer_for(self, provided: frozenset[str]) -> Offer:
        """Return what is offered; of classes that the peer wants to get, first what they are stored in."""
        offer = self._node.services.offer
        if not provided:
            return offer
        try:
            return offer_as_stored(offer, self._node.store.instances.transfer_syntaxes(provided))
        except OutOfResources:
            return offer

    def _serve_messages(self, session: Session) -> None:
        services = self._node.services
        while (message := session.channel.receive()) is not None:
            service = services.find(message)
            if service is not None and (service.permission is None or session.allows(service.permission)):
                service.handler(session, message)
            elif message.command.expects_response:
                self._refuse(session, message, UNRECOGNIZED_OPERATION if service is None else NOT_AUTHORIZED)
        self._released = True

    def _refuse(self, session: Session, message: Message, status: int) -> None:
        for _ in session.channel.fragments():
            pass
        if message.command.command_field == C_STORE_RQ:
            session.counters.failed(status)
        session.respond(message, status)
        if status == NOT_AUTHORIZED:
            record_forbidden(session, message)

"""Which presentation contexts are accepted (PS3.8 9.3.2.2, PS3.7 D.3.2).

The acceptor's order of transfer syntaxes decides. The compressed ones come first: a sender that offers both gets the
one that costs less to keep and to serve, and an object that is compressed need not be expanded by its sender.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.dimse.channel import AcceptedContext
from dicomsvc.dimse.pdu import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    ContextResult,
    ProposedContext,
    RoleSelection,
)
from dicomsvc.errors import UnsupportedInstance

STORED_SYNTAXES: Final[tuple[str, ...]] = (
    *(syntax.uid for syntax in TRANSFER_SYNTAXES.values() if syntax.encapsulated),
    str(ExplicitVRLittleEndian),
    str(ImplicitVRLittleEndian),
    str(ExplicitVRBigEndian),
)
"""Transfer syntaxes that instances are taken in, the preferred one first."""

MESSAGE_SYNTAXES: Final[tuple[str, ...]] = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Transfer syntaxes of services whose data sets are not stored, the preferred one first."""

MOST_CONTEXTS: Final = 128
"""Presentation contexts of one association: their identifiers are odd and at most 255 (PS3.8 9.3.2.2)."""

Offer = Callable[[str], tuple[str, ...]]
"""Returns the transfer syntaxes that an abstract syntax is served with, the preferred one first; none: not served."""


def offer_as_stored(offer: Offer, stored: Mapping[str, Collection[str]]) -> Offer:
    """Return an offer that begins with the transfer syntaxes in which a class's instances are ``stored``.

    The peer gets these instances as they are: a context in a syntax that none of them has would be of no use.
    """

    def offered(abstract_syntax: str) -> tuple[str, ...]:
        syntaxes, first = offer(abstract_syntax), stored.get(abstract_syntax, ())
        return (
            *(syntax for syntax in syntaxes if syntax in first),
            *(syntax for syntax in syntaxes if syntax not in first),
        )

    return offered


def sending_contexts(stored: Sequence[tuple[str, str]]) -> list[ProposedContext]:
    """Return what is proposed to send instances, of which ``stored`` lists abstract and transfer syntaxes.

    Each pair gets a context of its own, so that the peer has no choice but to take it or not. As far as there is room,
    each abstract syntax gets one more, without compression, for peers that do not take what is compressed.
    """
    contexts: list[tuple[str, tuple[str, ...]]] = [(abstract, (transfer,)) for abstract, transfer in stored]
    contexts += [(abstract, MESSAGE_SYNTAXES) for abstract in dict.fromkeys(pair[0] for pair in stored)]
    return [
        ProposedContext(2 * number + 1, abstract_syntax, syntaxes)
        for number, (abstract_syntax, syntaxes) in enumerate(contexts[:MOST_CONTEXTS])
    ]


def sending_syntax(sop_class_uid: str, stored: str, taken: Collection[str]) -> str:
    """Return the transfer syntax in which an instance goes to a peer that takes its class in those of ``taken``.

    Raises
    ------
    UnsupportedInstance
        When the peer takes it neither as it is stored nor without compression.
    """
    for syntax in (stored, *MESSAGE_SYNTAXES):
        if syntax in taken:
            return syntax
    raise UnsupportedInstance(f"the peer does not take {sop_class_uid} in {stored}, nor without compression")


def negotiate_roles(
    proposed: Iterable[RoleSelection], offer: Offer, may_provide: Callable[[str], bool]
) -> tuple[RoleSelection, ...]:
    """Answer the requestor's proposals of roles (PS3.7 D.3.3.4): never with more than it asked for.

    ``may_provide`` says for which SOP classes the requestor may be the SCP.
    """
    return tuple(
        RoleSelection(role.sop_class_uid, role.scu, role.scp and may_provide(role.sop_class_uid))
        for role in proposed
        if offer(role.sop_class_uid)
    )


def negotiate(
    proposed: Iterable[ProposedContext], offer: Offer, provided: Collection[str] = frozenset()
) -> tuple[tuple[ContextResult, ...], Mapping[int, AcceptedContext]]:
    """Answer each proposed presentation context; return the answers, and the accepted ones by identifier.

    ``provided`` are the SOP classes of which the requestor is the SCP.
    """
    results: list[ContextResult] = []
    accepted: dict[int, AcceptedContext] = {}
    for context in proposed:
        offered = offer(context.abstract_syntax)
        chosen = next((syntax for syntax in offered if syntax in context.transfer_syntaxes), None)
        if chosen is not None:
            results.append(ContextResult(context.context_id, ACCEPTED, chosen))
            accepted[context.context_id] = AcceptedContext(
                context.context_id, context.abstract_syntax, chosen, context.abstract_syntax in provided
            )
        else:
            # The transfer syntax of a refused context is not significant, yet must be a UID.
            reason = TRANSFER_SYNTAXES_NOT_SUPPORTED if offered else ABSTRACT_SYNTAX_NOT_SUPPORTED
            results.append(ContextResult(context.context_id, reason, str(ImplicitVRLittleEndian)))
    return tuple(results), accepted

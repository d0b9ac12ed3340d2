"""Networking (PS3.2 A.4): the application entities, what they serve and ask for, association policies, statuses."""

import re
from collections.abc import Iterable
from typing import Final

from pydicom.datadict import keyword_for_tag

from dicomsvc import errors
from dicomsvc.config import Permission, Settings
from dicomsvc.conformance.document import Section, Table, table
from dicomsvc.conformance.services import SCP, Line, asked, is_retired, name_of, served
from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.dimse import commands, pdu, proposals
from dicomsvc.dimse.commitment.model import FailureReason
from dicomsvc.dimse.stream import MAX_PDU_BYTES
from dicomsvc.errors import DicomsvcError
from dicomsvc.ingest.dimse.storage import STORED_WITH_FAULTS
from dicomsvc.pacs import suboperations
from dicomsvc.pacs.find import PENDING_WITH_UNSUPPORTED_KEYS
from dicomsvc.pacs.models import LEVELS
from dicomsvc.pacs.move import DestinationUnknown
from dicomsvc.pacs.worklist.keys import INDEXED
from dicomsvc.store.levels import PATIENT_TAGS, SERIES_TAGS, STUDY_TAGS
from dicomsvc.store.query.keys import SERIES_COMPUTED, STUDY_COMPUTED

_C_STORE: Final = "C-STORE"
_LIMITS: Final = (
    "max_pdu",
    "max_associations",
    "pdu_timeout_seconds",
    "idle_timeout_seconds",
    "find_limit",
    "require_called_ae_title",
    "calling_ae_titles",
    "accept_unknown",
)
_IN_ERROR_TREE: Final = re.compile(r"[├└]── (\w+) +0x([0-9A-F]{4}) +\d{3} +(.+)$", re.MULTILINE)


def networking(settings: Settings) -> Section:
    """Return the section Networking."""
    return Section(
        "Networking",
        sections=(
            _implementation_model(settings),
            Section("AE Specifications", sections=(_acceptor(settings), _requestor(settings))),
            _interfaces(settings),
            _configuration(settings),
        ),
    )


def network_services() -> Table:
    """Return the table of network services of the overview (PS3.2 A.1)."""
    lines: dict[str, list[Line]] = {line.sop_class_uid: [] for line in (*served(), *asked())}
    for line in (*served(), *asked()):
        lines[line.sop_class_uid].append(line)
    rows = [
        (name_of(uid), "Yes" if any(each.role != SCP for each in of) else "No", _yes(of))
        for uid, of in lines.items()
        if not all(each.operation == _C_STORE for each in of)
    ]
    stored = sum(line.operation == _C_STORE for line in served())
    rows.append((f"Storage: {stored} SOP classes of the standard, and private ones", "Yes", "Yes"))
    return table("Network services", ("SOP class", "User of service (SCU)", "Provider of service (SCP)"), rows)


def _yes(lines: list[Line]) -> str:
    return "Yes" if any(line.role == SCP for line in lines) else "No"


def _implementation_model(settings: Settings) -> Section:
    return Section(
        "Implementation Model",
        (
            f"One application entity, {settings.dimse.ae_title} unless configured otherwise, takes part in networks. "
            "As an acceptor it stores, finds, sends back and sends on instances, commits itself to keep them, and "
            "gives worklists. As a requestor it sends instances where a rule, a person or a C-MOVE wants them, asks "
            "other archives what they have, for it, and for storage commitment, and notifies others of what is "
            "available.",
            "What is acknowledged is durable: the file has been written to disk with its folder, and the database has "
            "committed its rows.",
        ),
    )


def _acceptor(settings: Settings) -> Section:
    return Section(
        "As acceptor of associations",
        (
            "Each context is accepted with the first of this node's transfer syntaxes that it proposes, in the order "
            "of the tables; for the SOP classes of C-GET, those in which instances are stored come first. A SOP class "
            "or transfer syntax that is not listed is refused.",
        ),
        (
            _services_table("SOP classes served", [line for line in served() if line.operation != _C_STORE]),
            _syntaxes_table(),
            _storage_table(),
        ),
        (
            Section(
                "Association policies",
                (
                    f"Application context {pdu.APPLICATION_CONTEXT}. Implementation Class UID "
                    f"{IMPLEMENTATION_CLASS_UID}, Implementation Version Name {IMPLEMENTATION_VERSION_NAME}. One "
                    "operation at a time (asynchronous operations are not negotiated). SOP Class Extended Negotiation "
                    f"and User Identity Negotiation are not used. A PDU of more than {MAX_PDU_BYTES} bytes is not "
                    "read, whatever its type. Role selection is answered for the SOP classes listed; the requestor "
                    "may be the SCP of Storage, for "
                    "C-GET, and of Storage Commitment, to report.",
                    "A request for an operation that is not served on its context is answered with "
                    f"{commands.UNRECOGNIZED_OPERATION:#06x}.",
                ),
                (_limits_table(settings),),
            ),
            _storage(),
            _query(),
            _retrieve(),
            _commitment(),
        ),
    )


def _requestor(settings: Settings) -> Section:
    return Section(
        "As requestor of associations",
        (
            "An instance is sent in the transfer syntax that it is stored in, where the peer accepts it; else in "
            "Explicit or Implicit VR Little Endian, without compression, as far as that has room in one element "
            "(4 GiB). A context is proposed for each pair of SOP class and transfer syntax that is to be sent, with "
            "that transfer syntax alone, and, while there is room, one for each SOP class with the two uncompressed "
            "ones; what needs more than 128 contexts goes over several associations. A response with a warning "
            "counts as sent. What fails is tried again with growing pauses, and kept for people when it was tried in "
            "vain.",
            "Peers are called with the title, the address and, where configured, the certificate of their entry among "
            "this node's peers.",
        ),
        (_services_table("SOP classes asked for", [line for line in asked() if line.operation != _C_STORE]),),
        (
            Section(
                "Storage",
                ("As SCU, this node proposes the SOP classes and transfer syntaxes that it stores (see above).",),
            ),
            _get(),
        ),
    )


def _get() -> Section:
    meanings = _meanings()
    usual = ", ".join(map(name_of, proposals.USUAL_SOP_CLASSES))
    proposed = proposals.storage_contexts(proposals.USUAL_SOP_CLASSES)
    alone = sum(each.abstract_syntax == proposals.USUAL_SOP_CLASSES[0] for each in proposed) - 1
    return Section(
        "Retrieve",
        (
            "C-MOVE and C-GET at the levels STUDY, SERIES and IMAGE, with the unique keys of the level and those above "
            "it. C-MOVE names this node, or another one, as the destination.",
            "For C-GET this node takes the role of the SCP of Storage by role selection (SCU role 0, SCP role 1; PS3.7 "
            "D.3.3.4). It first asks by C-FIND which SOP classes there are: SOP Classes in Study, or else the SOP "
            "Class UIDs of all instances, series by series. Those are proposed; when the peer tells none, these are: "
            f"{usual}.",
            "Each transfer syntax of Storage is proposed in a context of its own for up to "
            f"{proposals.CLASSES_IN_FULL} SOP classes of images; for more, the most common ones are ({alone} for the "
            "list above) and the others share one. Classes without pixel data are proposed in Explicit and Implicit VR "
            "Little Endian alone; the others share one context. What the peer lists as failed is asked for once more, "
            "on associations that propose one transfer syntax each. Without an accepted context of C-GET, or without "
            "the role, nothing is asked for.",
            "What comes is stored as by the SCP of Storage, and answered with its statuses. These are added:",
        ),
        (
            _statuses(
                "Statuses of C-STORE sub-operations of a C-GET",
                (errors.OtherStudy.dimse_status, "the instance belongs to another study than the one asked for"),
                (errors.NotAllowed.dimse_status, "the instance is none of those asked for"),
                (errors.UnsupportedInstance.dimse_status, meanings[errors.UnsupportedInstance] + "; no role for it"),
            ),
        ),
    )


def _services_table(title: str, lines: list[Line]) -> Table:
    columns = ("SOP class", "UID", "Operation", "Role", "Transfer syntaxes", "Requestor may be SCP")
    return table(
        title,
        columns,
        [
            (
                line.name,
                line.sop_class_uid,
                line.operation,
                line.role,
                ", ".join(map(name_of, line.transfer_syntaxes)),
                "Yes" if line.peer_may_provide else "No",
            )
            for line in lines
        ],
    )


def _syntaxes_table() -> Table:
    [syntaxes] = {line.transfer_syntaxes for line in served() if line.operation == _C_STORE}
    return table(
        "Transfer syntaxes of Storage, the preferred one first",
        ("Transfer syntax", "UID"),
        [(name_of(syntax), syntax) for syntax in syntaxes],
    )


def _storage_table() -> Table:
    return table(
        "Storage SOP classes (C-STORE; SCP and SCU; each in each transfer syntax of Storage)",
        ("SOP class", "UID", "Retired"),
        [
            (line.name, line.sop_class_uid, "Yes" if is_retired(line.sop_class_uid) else "")
            for line in served()
            if line.operation == _C_STORE
        ],
    )


def _limits_table(settings: Settings) -> Table:
    fields = type(settings.dimse).model_fields
    return table(
        "What a site can set",
        ("Setting", "Default", "Meaning"),
        [
            (f"dimse.{name}", f"{fields[name].default}", (fields[name].description or "").split("\n\n")[0])
            for name in _LIMITS
        ],
    )


def _statuses(title: str, *rows: tuple[int, str]) -> Table:
    return table(title, ("Status", "Meaning"), [(f"0x{status:04X}", meaning) for status, meaning in rows])


def _meanings() -> dict[type[DicomsvcError], str]:
    """Return what each error means, as the error tree has it."""
    return {getattr(errors, name): meaning for name, _, meaning in _IN_ERROR_TREE.findall(errors.__doc__ or "")}


def _storage() -> Section:
    meanings = _meanings()
    failures = (
        errors.DuplicateInstance,
        errors.UnsupportedInstance,
        errors.NotAllowed,
        errors.OutOfResources,
        errors.InvalidInstance,
        errors.NotParseable,
    )
    return Section(
        "Storage",
        (
            "Level 2 (full): an instance is kept byte for byte, all of its attributes, private ones too, and its "
            "transfer syntax. SOP classes that are younger than this node's tables and private ones are stored. The "
            "same instance again is a success; another one under the same SOP Instance UID is refused, and kept "
            "aside for people. Coercion: none. Digital signatures: kept, not verified.",
        ),
        (
            _statuses(
                "Statuses of C-STORE",
                (commands.SUCCESS, "durable, in place and in the index"),
                (STORED_WITH_FAULTS, "the same, with faults that the Error Comment tells"),
                *((each.dimse_status, meanings.get(each, _NOT_ALLOWED)) for each in failures),
            ),
        ),
    )


_NOT_ALLOWED: Final = "not allowed"


def _keywords(tags: Iterable[str]) -> str:
    return ", ".join(sorted(keyword_for_tag(tag) for tag in tags))


def _query() -> Section:
    return Section(
        "Query",
        (
            "Queries are relational: keys of other levels match, and unique keys of higher levels need not be given. "
            "Any attribute of the standard that instances of a level have can be a matching key, also within "
            "sequences; those of the table belong to the levels above the instance. Matching: single value, list of "
            "UIDs, universal, wildcard, range, sequence. Attributes that are not there are returned empty. Extended "
            "negotiation of fuzzy matching is not offered.",
        ),
        (
            table(
                "Attributes by level",
                ("Level", "Unique key", "Matching and return keys"),
                [
                    ("PATIENT", "PatientID", _keywords(PATIENT_TAGS)),
                    ("STUDY", "StudyInstanceUID", _keywords((STUDY_TAGS - PATIENT_TAGS) | STUDY_COMPUTED)),
                    ("SERIES", "SeriesInstanceUID", _keywords(SERIES_TAGS | SERIES_COMPUTED)),
                    ("IMAGE", "SOPInstanceUID", "all others of the instance"),
                ],
            ),
            _statuses(
                "Statuses of C-FIND",
                (commands.SUCCESS, "all results have been sent"),
                (commands.PENDING, "a result; all keys are supported"),
                (PENDING_WITH_UNSUPPORTED_KEYS, "a result; some keys are not supported"),
                (commands.CANCELLED, "cancelled by C-CANCEL"),
                (errors.OutOfResources.dimse_status, "the database does not answer; more results than the limit"),
                (errors.InvalidIdentifier.dimse_status, "the Identifier is none of the model"),
                (errors.NotAllowed.dimse_status, _NOT_ALLOWED),
                (errors.BadRequest.dimse_status, "a value is none of its VR; unable to process"),
            ),
            table(
                "Modality Worklist: keys with an index, beside all other attributes of an entry",
                ("Attribute",),
                [(".".join(map(keyword_for_tag, path)),) for path in INDEXED],
            ),
        ),
    )


def _retrieve() -> Section:
    levels = ", ".join(LEVELS)
    return Section(
        "Retrieve",
        (
            f"C-MOVE and C-GET at the levels {levels} (PATIENT in the Patient Root model). Instances go out in the "
            "transfer syntax that they are stored in, or without compression where the peer does not accept it; one "
            "for which there is no accepted context counts as failed. "
            "A file that no longer has the bytes it came with is not sent. C-MOVE goes to configured peers that may "
            "be a move destination, and to nobody else; a copy that is to be de-identified for that peer is.",
        ),
        (
            _statuses(
                "Statuses of C-MOVE and C-GET",
                (commands.SUCCESS, "all sub-operations succeeded"),
                (commands.PENDING, "sub-operations continue"),
                (suboperations.SOME_FAILED, "some sub-operations failed or had warnings"),
                (commands.CANCELLED, "cancelled by C-CANCEL"),
                (suboperations.SUB_OPERATIONS_FAILED, "no sub-operation succeeded"),
                (DestinationUnknown.dimse_status, "C-MOVE: the move destination is unknown, or may not be one"),
                (errors.InvalidIdentifier.dimse_status, "the Identifier is none of the model"),
                (errors.NotAllowed.dimse_status, _NOT_ALLOWED),
                (errors.DicomsvcError.dimse_status, "unable to process"),
            ),
        ),
    )


def _commitment() -> Section:
    return Section(
        "Storage Commitment",
        (
            "An instance is committed when it is stored under the SOP class named and its file has the bytes it came "
            "with: the digest is computed at the time of the request. The report goes out on the association of the "
            "request while it lasts, and on one of this node's own otherwise, again and again for a day.",
        ),
        (
            table(
                "Failure Reasons",
                ("Reason", "Meaning"),
                [(f"0x{reason:04X}", reason.name.replace("_", " ").lower()) for reason in FailureReason],
            ),
        ),
    )


def _interfaces(settings: Settings) -> Section:
    return Section(
        "Network Interfaces",
        (
            "DICOM upper layer over TCP/IP, IPv4 and IPv6, with TLS on a port of its own (see Security). The port is "
            f"{settings.dimse.bind.rpartition(':')[2]} unless configured otherwise.",
        ),
    )


def _configuration(settings: Settings) -> Section:
    return Section(
        "Configuration",
        (
            "Peers are known by name: AE title, host, port, TLS, addresses and certificates that they may come from "
            "and with, a profile of de-identification for what goes to them, and what they may do: "
            f"{', '.join(sorted(Permission))}. Application entities that are no peers may do, unless configured "
            f"otherwise: {', '.join(sorted(settings.dimse.unknown_may))}.",
        ),
    )

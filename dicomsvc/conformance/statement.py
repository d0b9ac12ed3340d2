"""The statement as a whole, in the order of PS3.2 Annex A."""

import inspect
from typing import Final

from pydicom import uid
from pydicom.charset import python_encoding

from dicomsvc import __version__, audit
from dicomsvc.audit import Event
from dicomsvc.config import Settings
from dicomsvc.conformance.document import Section, table
from dicomsvc.conformance.networking import network_services, networking
from dicomsvc.conformance.services import name_of
from dicomsvc.deidentify.profile import Profile
from dicomsvc.dicomweb.capabilities import RESOURCES
from dicomsvc.dicomweb.urls import DICOMWEB_PATH
from dicomsvc.errors import DicomsvcError
from dicomsvc.objects.codes import PRIVATE_SCHEME
from dicomsvc.tls import TLS_1_2_SUITES

_CREATED: Final = (
    (uid.VLWholeSlideMicroscopyImageStorage, "slides of vendors' formats, converted; images derived by a model"),
    (uid.SegmentationStorage, "regions that a model found"),
    (uid.MicroscopyBulkSimpleAnnotationsStorage, "cells and outlines that a model found, or that were clicked"),
    (uid.Comprehensive3DSRStorage, "measurements and scores (TID 1500)"),
    (uid.EnhancedSRStorage, "values of pathology reports"),
    (uid.ParametricMapStorage, "values at each pixel that a model computed"),
)


def statement(settings: Settings) -> Section:
    """Return the DICOM Conformance Statement of a service with these settings."""
    return Section(
        "DICOM Conformance Statement",
        (f"dicomsvc {__version__}. Made by `dicomsvc conformance` from the code that serves; PS3.2 Annex A.",),
        sections=(
            _overview(),
            _introduction(),
            networking(settings),
            Section("Media Storage", ("There are no media storage services.",)),
            _web(),
            _character_sets(),
            _security(),
            _annexes(),
        ),
    )


def _overview() -> Section:
    created = [(name_of(sop_class), "Yes", what) for sop_class, what in _CREATED]
    services = {(transaction.name, transaction.method) for each in RESOURCES.values() for transaction in each}
    return Section(
        "Conformance Statement Overview",
        (
            "dicomsvc is a node for whole slide images: it converts them, stores what comes, answers queries, gives "
            "instances, frames and pictures, runs models and stores their results, and passes instances on.",
        ),
        (
            network_services(),
            table("Web services (provider)", ("Transaction", "Method"), sorted(services)),
            table("Objects that it creates", ("SOP class", "Created", "For"), created),
        ),
    )


def _introduction() -> Section:
    return Section(
        "Introduction",
        (
            "Audience: those who connect other systems to this node. Conformance alone does not make two systems work "
            "together; each connection is to be tested. Terms and abbreviations are those of PS3.1 to PS3.20.",
        ),
    )


def _web() -> Section:
    rows = [
        (
            transaction.method,
            f"{DICOMWEB_PATH}/{path}",
            transaction.name,
            ", ".join(transaction.takes),
            ", ".join(transaction.gives),
            ", ".join(transaction.query),
        )
        for path, transactions in RESOURCES.items()
        for transaction in transactions
    ]
    statuses = sorted({error.http_status for error in _errors()})
    return Section(
        "Web Services",
        (
            "This node is an origin server of the Studies Service (QIDO-RS, WADO-RS, STOW-RS) and the Worklist Service "
            "(UPS-RS) of PS3.18. Instances go out as they are stored, or as Explicit VR Little Endian where that is "
            "asked for by name. STOW-RS answers with the Failure Reasons that C-STORE has as statuses.",
            f"Errors are answered with {', '.join(map(str, statuses))}.",
        ),
        (
            table(
                "Resources", ("Method", "Resource", "Transaction", "Request body", "Response", "Query parameters"), rows
            ),
        ),
    )


def _errors() -> "set[type[DicomsvcError]]":
    found: set[type[DicomsvcError]] = {DicomsvcError}
    waiting: list[type[DicomsvcError]] = [DicomsvcError]
    while waiting:
        below = waiting.pop().__subclasses__()
        found.update(below)
        waiting.extend(below)
    # Rooms that are not imported here may have some of their own: they must not change the document.
    return {error for error in found if error.__module__ == DicomsvcError.__module__}


def _character_sets() -> Section:
    terms = sorted(term for term in python_encoding if term.startswith(("ISO", "GB")))
    return Section(
        "Support of Character Sets",
        (
            "Texts are kept in the repertoire that they came in, and read in those of the table. Objects that this "
            "node creates, and responses to queries, are in ISO_IR 192 (UTF-8). A text that is not in the repertoire "
            "it names is stored with a warning.",
        ),
        (table("Specific Character Set: defined terms that are read", ("Term",), [(term,) for term in terms]),),
    )


def _security() -> Section:
    every = Profile(
        clean_descriptors=True,
        retain_uids=True,
        retain_full_dates=True,
        retain_modified_dates=True,
        retain_device_identity=True,
        retain_institution_identity=True,
        retain_patient_characteristics=True,
        retain_safe_private=True,
    )
    events = [
        (name, (inspect.getdoc(event) or "").partition("\n")[0])
        for name, event in sorted(vars(audit).items())
        if inspect.isclass(event) and issubclass(event, Event) and event is not Event
    ]
    return Section(
        "Security",
        sections=(
            Section(
                "Secure transport",
                (
                    "BCP 195 TLS Secure Transport Connection Profile (PS3.15 B.12) for DIMSE and for HTTP: TLS 1.2 and "
                    "1.3, no compression, no renegotiation; of TLS 1.3 all suites, of TLS 1.2 those of the table. "
                    "Clients' certificates are verified where an authority is configured, and can be required.",
                ),
                (table("Cipher suites of TLS 1.2", ("Suite",), [(suite,) for suite in TLS_1_2_SUITES]),),
            ),
            Section(
                "Audit trail",
                (
                    "Audit Trail Message Format Profile (PS3.15 A.5), kept as a chain in the database; sent by syslog "
                    "over TLS (PS3.15 A.6) where a collector is configured.",
                ),
                (table("Events", ("Event", "Content"), events),),
            ),
            Section(
                "De-identification",
                (
                    "Basic Application Level Confidentiality Profile (PS3.15 E) on export, on C-MOVE and on "
                    "forwarding, by profiles that a site configures; the methods that can be chosen are marked in the "
                    "objects with the codes of the table.",
                ),
                (
                    table(
                        "De-identification methods (CID 7050)",
                        ("Code", "Scheme", "Meaning"),
                        [(code.value, code.scheme_designator, code.meaning) for code in every.method_codes],
                    ),
                ),
            ),
        ),
    )


def _annexes() -> Section:
    return Section(
        "Annexes",
        sections=(
            Section(
                "IODs created",
                (
                    "Each object is written to its IOD and checked as it enters the store. Results of models say which "
                    "model and version made them, and that they are not verified.",
                ),
                (
                    table(
                        "Objects that this node creates",
                        ("SOP class", "UID", "For"),
                        [(name_of(sop_class), str(sop_class), what) for sop_class, what in _CREATED],
                    ),
                ),
            ),
            Section(
                "Private attributes and codes",
                (
                    "No private attributes are written. Codes that the standard has none for are in the scheme "
                    f"{PRIVATE_SCHEME}.",
                ),
            ),
            Section("Standard extended SOP classes", ("None.",)),
        ),
    )

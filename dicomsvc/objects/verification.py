"""A person's verdict on a result, recorded as a new version of its report (PS3.3 C.17.2, PS3.16 TID 1500, TID 1003).

The version before stays as it is, and so does its content tree inside of the new one: what is added is a container of
qualitative evaluations with the verdict, the comment, and the person as its observer context. The new version names
the one before in Predecessor Documents Sequence.

*Accepted*: Verification Flag VERIFIED with Verifying Observer Sequence: a person answers for the content. Preliminary
Flag FINAL.
*Rejected*: Verification Flag stays UNVERIFIED, as nobody answers for the content, and Preliminary Flag stays
PRELIMINARY, as it never became final; Completion Flag Description says that it was rejected. A reader that knows no
verdicts so treats it as what it was before: a result that may not be relied on. One that does leaves it and the
objects it refers to out.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage
from pydicom.valuerep import PersonName

from dicomsvc.errors import BadRequest, Conflict, InvalidInstance, UnsupportedInstance
from dicomsvc.objects.codes import (
    ACCEPTED,
    PRIVATE_SCHEME,
    QUALITATIVE_EVALUATIONS,
    REJECTED,
    VERDICT,
    VERDICT_COMMENT,
    code_of,
    coding_scheme_items,
    same_concept,
)
from dicomsvc.objects.common import NOT_VERIFIED, derived_uid
from dicomsvc.objects.provenance import Equipment

_REPORTS: Final = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)
_CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
_COMMENT_LENGTH: Final = 4096


class Verdict(StrEnum):
    """What a person says of a result."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who said what, and when.

    ``person_name`` is a Person Name (PS3.5 6.2.1), e.g. ``Wang^Xiao Dong=王^小东``; ``when`` has a time zone.
    """

    verdict: Verdict
    person_name: str
    organisation: str
    when: datetime
    comment: str = ""


_CODES: Final = {Verdict.ACCEPTED: ACCEPTED, Verdict.REJECTED: REJECTED}
_WORDS: Final = {
    Verdict.ACCEPTED: "AI result, accepted by a person",
    Verdict.REJECTED: "AI result, rejected by a person: not for use",
}


def judged(report: Dataset, judgement: Judgement, equipment: Equipment, *, sop_instance_uid: str = "") -> Dataset:
    """Return the next version of a report, which holds the verdict.

    It belongs to the same series when the same equipment writes it, else to a new one (PS3.3 A.1.2.3). Without
    ``sop_instance_uid`` its UID follows from the report, the person and the time, so that a repeated request makes the
    same instance.

    Raises
    ------
    UnsupportedInstance
        When it is no structured report that has place for a verdict.
    InvalidInstance
        When it has values that cannot be read.
    Conflict
        When it is not complete: a part is not judged.
    BadRequest
        When the name, the organisation or the time is missing or not valid.
    """
    if report.get("SOPClassUID") not in _REPORTS or report.get("ValueType") != "CONTAINER":
        raise UnsupportedInstance("a verdict is recorded in an Enhanced or Comprehensive (3D) SR only")
    if report.get("CompletionFlag") != "COMPLETE":
        raise Conflict("the report is not complete, so nobody can judge it yet")
    _check(judgement)
    try:
        ds = _unicode_copy(report)
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"the report cannot be read: {type(error).__name__}") from None
    uid = sop_instance_uid or derived_uid(
        str(report.SOPInstanceUID), judgement.verdict, judgement.person_name, judgement.when.isoformat()
    )
    _renew(ds, report, judgement, equipment, uid)
    _flag(ds, judgement)
    ds.ContentSequence.append(_container(judgement))
    schemes = [item for item in ds.get("CodingSchemeIdentificationSequence") or () if not _ours(item)]
    ds.CodingSchemeIdentificationSequence = [*schemes, *coding_scheme_items()]
    return ds


def verdict_of(report: Dataset) -> Verdict | None:
    """Return what was decided about a report; None while nobody has.

    A verified report without a verdict of ours counts as accepted. An acceptance counts only in a verified report, so
    that a copy whose verification was withdrawn is not taken for good.

    Raises
    ------
    InvalidInstance
        When its content cannot be read.
    """
    last = next(iter(reversed(list(_verdicts(report)))), None)
    if last is not None and same_concept(_coded(last), REJECTED):
        return Verdict.REJECTED
    return Verdict.ACCEPTED if report.get("VerificationFlag") == "VERIFIED" else None


def latest_versions(reports: Sequence[Dataset]) -> list[Dataset]:
    """Return those reports that no other one of them names as its predecessor, in the order given.

    Two verdicts on the same version, given at the same time by two people, are two latest versions.
    """
    earlier = {
        str(instance.get("ReferencedSOPInstanceUID"))
        for report in reports
        for study in _items(report, "PredecessorDocumentsSequence")
        for series in _items(study, "ReferencedSeriesSequence")
        for instance in _items(series, "ReferencedSOPSequence")
    }
    return [report for report in reports if str(report.get("SOPInstanceUID")) not in earlier]


def judgement_of(report: Dataset) -> Judgement | None:
    """Return the last verdict of a report as it was recorded, or None where there is none.

    Raises
    ------
    InvalidInstance
        When it is recorded in a way that cannot be understood.
    """
    containers = [container for container in _containers(report) if any(_of_container(container))]
    if not containers:
        return None
    container = containers[-1]
    try:
        verdict = _of_container(container)[-1]
        return Judgement(
            verdict=Verdict.ACCEPTED if same_concept(_coded(verdict), ACCEPTED) else Verdict.REJECTED,
            person_name=_text(container, codes.DCM.PersonObserverName, "PersonName"),
            organisation=_text(container, codes.DCM.PersonObserverOrganizationName, "TextValue"),
            when=datetime.strptime(str(verdict.ObservationDateTime), "%Y%m%d%H%M%S.%f%z"),
            comment=_text(container, VERDICT_COMMENT, "TextValue"),
        )
    except (AttributeError, ValueError):
        raise InvalidInstance("the verdict of this report cannot be read") from None


def _check(judgement: Judgement) -> None:
    if judgement.when.utcoffset() is None:
        raise BadRequest("the time of a verdict has a time zone")
    name, organisation = judgement.person_name, judgement.organisation
    groups = name.split("=")
    if not name.strip("^= ") or len(groups) > 3 or any(len(group) > 64 for group in groups):
        raise BadRequest("a verdict names a person, in at most 64 characters (PS3.5 6.2)")
    if not organisation.strip() or len(organisation) > 64:
        raise BadRequest("a verdict names an organisation, in at most 64 characters")
    if any(letter == "\\" or not letter.isprintable() for letter in name + organisation):
        raise BadRequest("the names of a verdict have no backslash and no control characters")
    if any((ord(letter) < 32 and letter not in "\t\n\r") or letter == "\x7f" for letter in judgement.comment):
        raise BadRequest("the comment of a verdict has no control characters but tab and line ends (PS3.5 6.1.3)")


def _unicode_copy(report: Dataset) -> Dataset:
    """Return a copy that is written in Unicode, whatever the report came in."""
    ds = Dataset()
    for element in report:
        ds.add(deepcopy(element))
    for element in ds.iterall():
        # To look at an element is to decode it; only names keep the bytes they came as.
        if element.VR == "PN" and element.value:
            names = element.value if isinstance(element.value, MultiValue) else [element.value]
            element.value = [PersonName(str(name), ["utf8"]) for name in names]
    ds.SpecificCharacterSet = "ISO_IR 192"
    return ds


def _renew(ds: Dataset, report: Dataset, judgement: Judgement, equipment: Equipment, uid: str) -> None:
    """Make it another instance that follows the first."""
    maker = (report.get("Manufacturer"), report.get("ManufacturerModelName"), report.get("DeviceSerialNumber"))
    ours = (equipment.manufacturer, equipment.manufacturer_model_name, equipment.device_serial_number)
    moment = _in_zone_of(report, judgement.when)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    ds.SOPInstanceUID = UID(uid)
    ds.InstanceNumber = int(report.get("InstanceNumber") or 1) + 1
    ds.InstanceCreationDate, ds.InstanceCreationTime = date, time
    ds.ContentDate, ds.ContentTime = date, time
    if maker != ours:
        ds.SeriesInstanceUID = UID(derived_uid(str(report.SeriesInstanceUID), "verdicts", *ours))
        ds.SeriesDate, ds.SeriesTime = date, time
        ds.Manufacturer, ds.ManufacturerModelName, ds.DeviceSerialNumber = ours
    ds.SoftwareVersions = list(equipment.software_versions)
    ds.PredecessorDocumentsSequence = [_predecessor(report)]


def _in_zone_of(report: Dataset, when: datetime) -> datetime:
    """Return the moment in the zone that the report's dates are in (PS3.3 C.12.1)."""
    offset = str(report.get("TimezoneOffsetFromUTC") or "")
    try:
        return when.astimezone(datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return when


def _predecessor(report: Dataset) -> Dataset:
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = report.SOPClassUID
    instance.ReferencedSOPInstanceUID = report.SOPInstanceUID
    series.SeriesInstanceUID = report.SeriesInstanceUID
    series.ReferencedSOPSequence = [instance]
    study.StudyInstanceUID = report.StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    return study


def _flag(ds: Dataset, judgement: Judgement) -> None:
    words = _WORDS[judgement.verdict]
    ds.CompletionFlagDescription = words
    if judgement.verdict is Verdict.ACCEPTED:
        ds.VerificationFlag, ds.PreliminaryFlag = "VERIFIED", "FINAL"
        ds.VerifyingObserverSequence = [_verifying_observer(judgement)]
    else:
        ds.VerificationFlag, ds.PreliminaryFlag = "UNVERIFIED", "PRELIMINARY"
        ds.pop("VerifyingObserverSequence", None)
    for item in ds.get("ContributingEquipmentSequence") or ():
        description = str(item.get("ContributionDescription") or "")
        for before in (NOT_VERIFIED, *_WORDS.values()):
            if before in description:
                item.ContributionDescription = description.replace(before, words)
                break


def _verifying_observer(judgement: Judgement) -> Dataset:
    item = Dataset()
    item.VerifyingOrganization = judgement.organisation
    item.VerificationDateTime = _date_time(judgement)
    item.VerifyingObserverName = judgement.person_name
    item.VerifyingObserverIdentificationCodeSequence = []
    return item


def _date_time(judgement: Judgement) -> str:
    return judgement.when.strftime("%Y%m%d%H%M%S.%f%z")


def _container(judgement: Judgement) -> Dataset:
    """Return the container with the verdict; who made it stands in it as observer context."""
    container = sr.ContainerContentItem(
        QUALITATIVE_EVALUATIONS, is_content_continuous=False, relationship_type=_CONTAINS
    )
    person = sr.PersonObserverIdentifyingAttributes(
        name=judgement.person_name, organization_name=judgement.organisation, role_in_procedure=codes.DCM.Verifying
    )
    verdict = sr.CodeContentItem(VERDICT, _CODES[judgement.verdict], relationship_type=_CONTAINS)
    verdict.add_new("ObservationDateTime", "DT", _date_time(judgement))
    container.ContentSequence = sr.ContentSequence()
    container.ContentSequence.extend(sr.ObserverContext(codes.DCM.Person, person))
    container.ContentSequence.append(verdict)
    if judgement.comment.strip():
        comment = judgement.comment.strip()[:_COMMENT_LENGTH]
        container.ContentSequence.append(sr.TextContentItem(VERDICT_COMMENT, comment, relationship_type=_CONTAINS))
    return container


def _ours(item: Dataset) -> bool:
    return bool(item.get("CodingSchemeDesignator") == PRIVATE_SCHEME)


def _containers(report: Dataset) -> Iterator[Dataset]:
    items = _items(report, "ContentSequence")
    # pydicom takes bytes that are no sequence for items without attributes.
    if not items or any("ValueType" not in item and "ReferencedContentItemIdentifier" not in item for item in items):
        raise InvalidInstance("the report has no content that can be read")
    for item in items:
        if same_concept(code_of(item.get("ConceptNameCodeSequence")), QUALITATIVE_EVALUATIONS):
            yield item


def _items(ds: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it is missing.

    Raises
    ------
    InvalidInstance
        When something else stands in its place: to take that for none could hide a rejection.
    """
    try:
        value = ds.get(keyword) or ()
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"{keyword} of the report cannot be read: {type(error).__name__}") from None
    if not isinstance(value, Items | tuple):
        raise InvalidInstance(f"{keyword} of the report is no sequence")
    return value


def _of_container(container: Dataset) -> list[Dataset]:
    items = _items(container, "ContentSequence")
    return [item for item in items if same_concept(code_of(item.get("ConceptNameCodeSequence")), VERDICT)]


def _verdicts(report: Dataset) -> Iterator[Dataset]:
    for container in _containers(report):
        yield from _of_container(container)


def _coded(item: Dataset) -> Code | None:
    return code_of(item.get("ConceptCodeSequence"))


def _text(container: Dataset, name: Code, keyword: str) -> str:
    for item in container.ContentSequence:
        if same_concept(code_of(item.get("ConceptNameCodeSequence")), name):
            return str(item.get(keyword) or "")
    return ""

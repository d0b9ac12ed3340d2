"""Coded values of audit messages: PS3.16 CID 400 to 405, and those that PS3.15 A.5 takes over from RFC 3881."""

from dataclasses import dataclass
from typing import Final

from pydicom.sr.codedict import codes


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: ``csd-code``, ``codeSystemName``, ``originalText`` (PS3.15 A.5.1.1)."""

    value: str
    scheme: str
    meaning: str


def dcm(keyword: str) -> Code:
    """Return a code of the DICOM Controlled Terminology by pydicom's keyword."""
    code = getattr(codes.DCM, keyword)
    return Code(code.value, code.scheme_designator, code.meaning)


def _rfc_3881(value: str, meaning: str) -> Code:
    return Code(value, "RFC-3881", meaning)


APPLICATION_ACTIVITY: Final = dcm("ApplicationActivity")
AUDIT_LOG_USED: Final = dcm("AuditLogUsed")
BEGIN_TRANSFERRING: Final = dcm("BeginTransferringDICOMInstances")
INSTANCES_ACCESSED: Final = dcm("DICOMInstancesAccessed")
INSTANCES_TRANSFERRED: Final = dcm("DICOMInstancesTransferred")
STUDY_DELETED: Final = dcm("DICOMStudyDeleted")
EXPORT: Final = dcm("Export")
IMPORT: Final = dcm("Import")
QUERY: Final = dcm("Query")
SECURITY_ALERT: Final = dcm("SecurityAlert")
USER_AUTHENTICATION: Final = dcm("UserAuthentication")
ORDER_RECORD: Final = dcm("OrderRecord")
PATIENT_RECORD: Final = dcm("PatientRecord")

APPLICATION_START: Final = dcm("ApplicationStart")
APPLICATION_STOP: Final = dcm("ApplicationStop")
LOGIN: Final = dcm("Login")
LOGOUT: Final = dcm("Logout")

APPLICATION: Final = dcm("Application")
SOURCE: Final = dcm("SourceRoleID")
DESTINATION: Final = dcm("DestinationRoleID")
SOURCE_MEDIA: Final = dcm("SourceMedia")
DESTINATION_MEDIA: Final = dcm("DestinationMedia")
URI_MEDIUM: Final = dcm("URI")

STUDY_INSTANCE_UID: Final = dcm("StudyInstanceUID")
SOP_CLASS_UID: Final = dcm("SOPClassUID")
PATIENT_NUMBER: Final = _rfc_3881("2", "Patient Number")
REPORT_NUMBER: Final = _rfc_3881("9", "Report Number")
SEARCH_CRITERIA: Final = _rfc_3881("10", "Search Criteria")
URI: Final = _rfc_3881("12", "URI")

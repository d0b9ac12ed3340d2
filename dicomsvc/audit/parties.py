"""Who takes part in events, and whose objects they are about (PS3.15 A.5.2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomsvc.audit import codes
from dicomsvc.audit.codes import Code
from dicomsvc.audit.message import ActiveParticipant, ObjectRole, ObjectType, ParticipantObject

UNKNOWN: Final = "unknown"
_MOST_INSTANCES: Final = 64
_MOST_UNCLASSED: Final = 2000


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who takes part: a user or process, an Application Entity when it has a title; from an address."""

    user_id: str
    address: str = ""
    ae_title: str = ""

    def taking_part(
        self, role: Code | None = None, *, is_requestor: bool = False, medium: Code | None = None
    ) -> ActiveParticipant:
        titles = f"AETITLES={self.ae_title}" if self.ae_title else ""
        return ActiveParticipant(self.user_id, is_requestor, role, titles, self.address, medium)


def application_entity(ae_title: str, address: str = "") -> Party:
    """Return the party of a DICOM peer."""
    return Party(ae_title, address, ae_title)


@dataclass(frozen=True, slots=True)
class Share:
    """What of one study: numbers of instances by SOP Class UID, and some of the instances' UIDs by class.

    Instances under the class ``""`` are those of which only the index knows the class; each counts once, however often
    it is named.
    """

    study_instance_uid: str
    patient_id: str | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    instances: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accession_number: str = ""

    def joined(self, other: "Share") -> "Share":
        """Return both shares of the same study as one."""
        classes = dict(self.classes)
        for uid, count in other.classes.items():
            classes[uid] = classes.get(uid, 0) + count
        instances = dict(self.instances)
        for uid, some in other.instances.items():
            most = _MOST_INSTANCES if uid else _MOST_UNCLASSED
            if len(instances.get(uid, ())) < most:
                instances[uid] = tuple(dict.fromkeys((*instances.get(uid, ()), *some)))[:most]
        return Share(
            self.study_instance_uid,
            self.patient_id or other.patient_id,
            classes,
            instances,
            self.accession_number or other.accession_number,
        )

    def objects(self, *, anonymized: bool | None = None) -> tuple[ParticipantObject, ...]:
        """Return study and patient as participant objects."""
        study = ParticipantObject(
            self.study_instance_uid or UNKNOWN,
            codes.STUDY_INSTANCE_UID,
            ObjectType.SYSTEM,
            ObjectRole.REPORT,
            accession_number=self.accession_number,
            # All or none: half a list would tell of fewer instances than there were.
            classes=self.classes,
            instances={uid: some for uid, some in self.instances.items() if len(some) == self.classes.get(uid)},
            anonymized=anonymized,
        )
        return study, patient(self.patient_id)


def patient(patient_id: str | None) -> ParticipantObject:
    """Return the patient as a participant object."""
    return ParticipantObject(patient_id or UNKNOWN, codes.PATIENT_NUMBER, ObjectType.PERSON, ObjectRole.PATIENT)

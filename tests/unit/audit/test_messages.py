"""Every event as a message of PS3.15 A.5: valid by its schema, with what its table asks for."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from dicomsvc.audit import (
    Action,
    ApplicationActivity,
    AuditLogUsed,
    BeginTransferring,
    Event,
    Export,
    Import,
    InstancesAccessed,
    InstancesTransferred,
    OrderRecord,
    Outcome,
    Party,
    PatientRecord,
    Query,
    SecurityAlert,
    Share,
    StudyDeleted,
    UserAuthentication,
    application_entity,
)
from dicomsvc.audit.events import EVENTS
from dicomsvc.audit.journal import event_of, row_of
from dicomsvc.audit.message import AuditSource, write_xml

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[2] / "data" / "audit-message.rng"))
AT = datetime(2026, 3, 4, 5, 6, 7, 891000, UTC)
NODE = application_entity("DICOMSVC", "pacs.example.org")
SCANNER = application_entity("SCANNER", "10.0.0.7")
PERSON = Party("ada", "10.0.0.8")
WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
SHARE = Share("1.2.3", "P-1", {WSI: 2}, {WSI: ("1.2.3.4", "1.2.3.5")}, "A-1")

CASES: dict[str, Event] = {
    "application-activity": ApplicationActivity(process=application_entity("DICOMSVC"), started=True),
    "audit-log-used": AuditLogUsed(user=PERSON, trail="urn:dicomsvc:audit"),
    "begin-transferring": BeginTransferring(peer=SCANNER, requestor=application_entity("ASKER"), shares=(SHARE,)),
    "instances-accessed": InstancesAccessed(user=PERSON, action=Action.CREATE, shares=(SHARE,)),
    "instances-transferred": InstancesTransferred(peer=SCANNER, inbound=True, action=Action.CREATE, shares=(SHARE,)),
    "study-deleted": StudyDeleted(user=PERSON, shares=(SHARE,)),
    "export": Export(user=PERSON, medium="file:///export", anonymized=True, shares=(SHARE,)),
    "import": Import(user=PERSON, medium="urn:dicomsvc:import", shares=(SHARE,)),
    "query": Query(
        user=SCANNER, subject="1.2.840.10008.5.1.4.1.2.2.1", query=b"\x08\0\0R", transfer_syntax="1.2.840.10008.1.2"
    ),
    "security-alert": SecurityAlert(
        kind="NodeAuthentication",
        subject="urn:dicomsvc:dimse",
        performer=SCANNER,
        description="calling AE title not recognized",
        outcome=Outcome.MINOR_FAILURE,
        times=3,
    ),
    "user-authentication": UserAuthentication(user=PERSON, outcome=Outcome.SERIOUS_FAILURE, description="no token"),
    "order-record": OrderRecord(user=PERSON, action=Action.CREATE, patient_id="P-1"),
    "patient-record": PatientRecord(user=PERSON, action=Action.UPDATE, report="2.25.7", shares=(SHARE,)),
}


def xml(event: Event) -> etree._Element:
    text = write_xml(event.message(AT, NODE), AuditSource("DICOMSVC", "Hospital"))
    assert "\n" not in text
    root = etree.fromstring(text)
    assert SCHEMA.validate(root), SCHEMA.error_log
    return root


def test_there_is_a_case_for_every_event() -> None:
    assert CASES.keys() == EVENTS.keys()
    assert all(type(CASES[name]) is kind for name, kind in EVENTS.items())


@pytest.mark.parametrize("name", CASES)
def test_every_event_is_valid_by_the_schema_with_its_own_code(name: str) -> None:
    root = xml(CASES[name])
    [code] = root.findall("EventIdentification/EventID")
    assert (code.get("csd-code"), code.get("codeSystemName")) == (CASES[name].code.value, "DCM")
    assert root.find("EventIdentification").get("EventDateTime") == "2026-03-04T05:06:07.891Z"
    requestors = [each for each in root.findall("ActiveParticipant") if each.get("UserIsRequestor") == "true"]
    assert len(requestors) == (0 if name == "application-activity" else 1)


@pytest.mark.parametrize("name", CASES)
def test_an_event_comes_out_of_the_journal_as_it_went_in(name: str) -> None:
    import json

    event = CASES[name]
    row = row_of(event, AT)
    whole = event_of(row["action"], json.loads(json.dumps(row["detail"])))
    if getattr(event, "shares", ()):
        # The accession number is looked up when the message is made.
        assert [share.classes for share in whole.shares] == [SHARE.classes]  # type: ignore[attr-defined]
        assert [share.instances for share in whole.shares] == [SHARE.instances]  # type: ignore[attr-defined]
        assert whole.kernel() == event.kernel()
    else:
        assert whole == event


def test_the_schema_refuses_what_is_no_message() -> None:
    root = xml(CASES["query"])
    root.find("EventIdentification").set("EventOutcomeIndicator", "1")
    assert not SCHEMA.validate(root)
    root = xml(CASES["study-deleted"])
    root.find("ParticipantObjectIdentification").remove(root.find("ParticipantObjectIdentification")[1])
    assert not SCHEMA.validate(root)


def test_what_came_in_names_source_destination_study_and_patient() -> None:
    root = xml(CASES["instances-transferred"])
    assert root.find("EventIdentification").get("EventActionCode") == "C"
    source, destination = root.findall("ActiveParticipant")
    assert source.get("AlternativeUserID") == "AETITLES=SCANNER"
    assert (source.get("NetworkAccessPointID"), source.get("NetworkAccessPointTypeCode")) == ("10.0.0.7", "2")
    assert source.find("RoleIDCode").get("csd-code") == "110153"
    assert destination.find("RoleIDCode").get("csd-code") == "110152"
    assert destination.get("NetworkAccessPointTypeCode") == "1"
    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find("ParticipantObjectIDTypeCode").get("csd-code") == "110180"
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert (sop_class.get("UID"), sop_class.get("NumberOfInstances")) == (WSI, "2")
    assert [each.get("UID") for each in sop_class] == ["1.2.3.4", "1.2.3.5"]
    assert study.find("ParticipantObjectDescription/Accession").get("Number") == "A-1"
    assert patient.get("ParticipantObjectID") == "P-1"
    assert patient.find("ParticipantObjectIDTypeCode").get("csd-code") == "2"
    assert not patient.find("ParticipantObjectName").text


def test_a_move_names_the_third_party_that_asked() -> None:
    asker = application_entity("ASKER", "10.0.0.9")
    root = xml(InstancesTransferred(peer=SCANNER, inbound=False, requestor=asker, shares=(SHARE,)))
    source, destination, third = root.findall("ActiveParticipant")
    assert [each.get("UserIsRequestor") for each in (source, destination, third)] == ["false", "false", "true"]
    assert (source.get("UserID"), destination.get("UserID"), third.get("UserID")) == ("DICOMSVC", "SCANNER", "ASKER")
    assert root.find("EventIdentification").get("EventActionCode") == "R"


def test_a_query_holds_its_data_set_and_transfer_syntax() -> None:
    root = xml(CASES["query"])
    [asked] = root.findall("ParticipantObjectIdentification")
    assert base64.b64decode(asked.find("ParticipantObjectQuery").text) == b"\x08\0\0R"
    detail = asked.find("ParticipantObjectDetail")
    assert detail.get("type") == "TransferSyntax"
    assert base64.b64decode(detail.get("value")) == b"1.2.840.10008.1.2"


def test_what_peers_call_themselves_does_no_harm_to_the_xml() -> None:
    evil = Party("a\0b\x1b<&\"'\ud800]]>" + "x" * 5000, "10.0.0.1\n", "E\x07VIL")
    event = event_of("instances-accessed", row_of(InstancesAccessed(user=evil, shares=(SHARE,)), AT)["detail"])
    root = xml(event)
    assert root.find("ActiveParticipant").get("UserID").startswith("a\ufffdb\ufffd<&\"'\ufffd]]>xxx")
    assert len(root.find("ActiveParticipant").get("UserID")) == 1024


def test_an_event_of_two_studies_becomes_two() -> None:
    other = Share("1.2.4", "P-2", {WSI: 1})
    split = list(InstancesAccessed(user=PERSON, shares=(SHARE, other)).split())
    assert [each.shares[0].patient_id for each in split] == ["P-1", "P-2"]  # type: ignore[attr-defined]


def test_alike_events_are_told_as_one() -> None:
    one = InstancesAccessed(user=PERSON, shares=(SHARE,))
    more = InstancesAccessed(user=PERSON, shares=(Share("1.2.3", None, {WSI: 5, "1.2.9": 1}),))
    assert one.kernel() == more.kernel() != InstancesAccessed(user=SCANNER, shares=(SHARE,)).kernel()
    [share] = one.merged(more).shares
    assert (share.patient_id, share.classes) == ("P-1", {WSI: 7, "1.2.9": 1})
    root = xml(one.merged(more))
    # Of seven, two are known by name: no list is better than a wrong one.
    assert not root.findall(".//Instance")

"""A verdict makes a new version of a report that says who answers for it, and leaves the content as it was."""

import io
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import highdicom as hd
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from dicomsvc.errors import BadRequest, Conflict, InvalidInstance, UnsupportedInstance
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.report import report_file, report_text
from dicomsvc.objects.verification import Judgement, Verdict, judged, judgement_of, latest_versions, verdict_of
from tests.unit.objects.report_case import report
from tests.unit.objects.result_slide import EQUIPMENT, PATIENT_NAME, slide

WHEN = datetime(2026, 11, 21, 16, 5, 6, 700, tzinfo=timezone(timedelta(hours=8)))
ACCEPT = Judgement(Verdict.ACCEPTED, "Li^Ming=李^明", "协和医院", WHEN, "看起来很好: looks fine")
REJECT = replace(ACCEPT, verdict=Verdict.REJECTED, comment="Counts lymphocytes as tumour")


def reread(ds: Dataset) -> Dataset:
    return dcmread(io.BytesIO(report_file(ds)))


def tree(ds: Dataset) -> list[Dataset]:
    return list(ds.ContentSequence)


def test_a_report_that_nobody_judged_has_no_verdict() -> None:
    assert verdict_of(report()) is None
    assert judgement_of(report()) is None


@pytest.mark.parametrize("judgement", [ACCEPT, REJECT], ids=["accepted", "rejected"])
def test_a_verdict_is_recorded_and_read_back_as_it_was_given(judgement: Judgement) -> None:
    ds = reread(judged(report(), judgement, EQUIPMENT))
    assert verdict_of(ds) is judgement.verdict
    assert judgement_of(ds) == judgement


@pytest.mark.parametrize("judgement", [ACCEPT, REJECT], ids=["accepted", "rejected"])
def test_the_report_before_is_left_untouched_and_its_content_is_kept(judgement: Judgement) -> None:
    before = report()
    kept = deepcopy(before)
    after = judged(before, judgement, EQUIPMENT)
    assert before == kept
    assert tree(after)[: len(tree(before))] == tree(before)
    assert len(tree(after)) == len(tree(before)) + 1
    for keyword in ("PatientName", "StudyInstanceUID", "CurrentRequestedProcedureEvidenceSequence", "StudyDate"):
        assert after[keyword] == before[keyword]


def test_an_accepted_report_is_verified_by_the_person() -> None:
    ds = reread(judged(report(), ACCEPT, EQUIPMENT))
    assert (ds.VerificationFlag, ds.PreliminaryFlag, ds.CompletionFlag) == ("VERIFIED", "FINAL", "COMPLETE")
    (observer,) = ds.VerifyingObserverSequence
    assert str(observer.VerifyingObserverName) == "Li^Ming=李^明"
    assert observer.VerifyingOrganization == "协和医院"
    assert observer.VerificationDateTime == "20261121160506.000700+0800"


def test_a_rejected_report_is_verified_by_nobody() -> None:
    ds = reread(judged(report(), REJECT, EQUIPMENT))
    assert (ds.VerificationFlag, ds.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in ds
    assert "rejected" in ds.CompletionFlagDescription


@pytest.mark.parametrize("judgement", [ACCEPT, REJECT], ids=["accepted", "rejected"])
def test_a_judged_report_no_longer_says_that_nobody_verified_it(judgement: Judgement) -> None:
    assert NOT_VERIFIED in str(report())
    assert NOT_VERIFIED not in str(judged(report(), judgement, EQUIPMENT))


def test_the_new_version_names_the_one_before() -> None:
    before = report()
    after = judged(before, ACCEPT, EQUIPMENT)
    (study,) = after.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == before.StudyInstanceUID
    assert series.SeriesInstanceUID == before.SeriesInstanceUID
    assert instance.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.InstanceNumber == before.InstanceNumber + 1


def test_the_same_equipment_goes_on_in_its_series_and_another_starts_one() -> None:
    before = report()
    assert judged(before, ACCEPT, EQUIPMENT).SeriesInstanceUID == before.SeriesInstanceUID
    other = judged(before, ACCEPT, replace(EQUIPMENT, device_serial_number="SN-2"))
    assert other.SeriesInstanceUID != before.SeriesInstanceUID
    assert other.DeviceSerialNumber == "SN-2"
    assert other.StudyInstanceUID == before.StudyInstanceUID


def test_a_repeated_request_makes_the_same_instance_and_another_person_another() -> None:
    before = report()
    uids = {judged(before, ACCEPT, EQUIPMENT).SOPInstanceUID for _ in range(2)}
    assert len(uids) == 1
    assert judged(before, replace(ACCEPT, person_name="Zhang^San"), EQUIPMENT).SOPInstanceUID not in uids
    assert judged(before, ACCEPT, EQUIPMENT, sop_instance_uid="2.25.7").SOPInstanceUID == "2.25.7"


def test_a_later_verdict_replaces_an_earlier_one_and_both_stay_on_record() -> None:
    accepted = judged(report(), ACCEPT, EQUIPMENT)
    withdrawn = reread(judged(accepted, replace(REJECT, when=WHEN + timedelta(days=1)), EQUIPMENT))
    assert verdict_of(withdrawn) is Verdict.REJECTED
    assert "VerifyingObserverSequence" not in withdrawn
    again = reread(judged(withdrawn, replace(ACCEPT, when=WHEN + timedelta(days=2)), EQUIPMENT))
    assert verdict_of(again) is Verdict.ACCEPTED
    assert report_text(again).count("  Verdict on AI Result: ") == 3


def test_versions_that_others_follow_are_not_the_latest() -> None:
    first, other = report(), report()
    second = reread(judged(first, ACCEPT, EQUIPMENT))
    third = reread(judged(second, REJECT, EQUIPMENT))
    assert latest_versions([third, first, other, second]) == [third, other]


def test_two_verdicts_on_one_version_are_both_latest() -> None:
    first = report()
    one = judged(first, ACCEPT, EQUIPMENT)
    two = judged(first, replace(REJECT, person_name="Zhang^San"), EQUIPMENT)
    assert latest_versions([first, one, two]) == [one, two]


def test_foreign_verified_reports_count_as_accepted() -> None:
    ds = report()
    ds.VerificationFlag = "VERIFIED"
    assert verdict_of(ds) is Verdict.ACCEPTED


def test_acceptance_in_a_report_that_is_no_longer_verified_does_not_count() -> None:
    ds = judged(report(), ACCEPT, EQUIPMENT)
    ds.VerificationFlag = "UNVERIFIED"
    assert verdict_of(ds) is None


@pytest.mark.parametrize("judgement", [ACCEPT, REJECT], ids=["accepted", "rejected"])
def test_highdicom_reads_a_judged_report(judgement: Judgement) -> None:
    read = hd.sr.srread(io.BytesIO(report_file(judged(report(), judgement, EQUIPMENT))))
    assert len(read.content.get_planar_roi_measurement_groups()) == 1
    assert [context.observer_type.meaning for context in read.content.get_observer_contexts()] == ["Device"]


def test_text_shows_the_verdict_the_person_and_the_comment() -> None:
    text = report_text(reread(judged(report(), ACCEPT, EQUIPMENT)))
    assert "Status: complete, verified, final (AI result, accepted by a person)" in text
    assert "Verified by Li^Ming=李^明, 协和医院, 2026-11-21 16:05 +0800" in text
    assert "Verdict on AI Result: Accepted" in text
    assert "看起来很好: looks fine" in text


def test_a_report_in_another_character_set_is_judged_without_loss() -> None:
    foreign = report()
    foreign.SpecificCharacterSet = "GB18030"
    stream = io.BytesIO()
    foreign.file_meta = FileMetaDataset()
    foreign.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    foreign.save_as(stream, enforce_file_format=True)
    assert "王^小东".encode("gb18030") in stream.getvalue()
    stream.seek(0)
    ds = reread(judged(dcmread(stream), ACCEPT, EQUIPMENT))
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert str(ds.PatientName) == PATIENT_NAME
    assert "三级, by eye" in report_text(ds)
    assert judgement_of(ds) == ACCEPT


def test_dates_are_told_in_the_zone_of_the_report() -> None:
    ds = judged(report(), ACCEPT, EQUIPMENT)
    assert ds.TimezoneOffsetFromUTC == "+0000"
    assert (ds.ContentDate, ds.ContentTime[:6]) == ("20261121", "080506")


@pytest.mark.parametrize(
    "wrong",
    [
        {"person_name": ""},
        {"person_name": "^^"},
        {"person_name": "x" * 65},
        {"person_name": "a=b=c=d"},
        {"person_name": "evil\\name"},
        {"person_name": "line\nbreak"},
        {"organisation": " "},
        {"organisation": "x" * 65},
        {"when": datetime(2026, 11, 21)},
    ],
)
def test_a_verdict_of_nobody_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        judged(report(), replace(ACCEPT, **wrong), EQUIPMENT)  # type: ignore[arg-type]


def test_only_complete_reports_are_judged() -> None:
    partial = report()
    partial.CompletionFlag = "PARTIAL"
    with pytest.raises(Conflict):
        judged(partial, ACCEPT, EQUIPMENT)
    with pytest.raises(UnsupportedInstance):
        judged(slide().dataset, ACCEPT, EQUIPMENT)


def test_a_verdict_without_a_time_is_not_guessed() -> None:
    ds = judged(report(), replace(ACCEPT, when=datetime(2026, 1, 2, tzinfo=UTC)), EQUIPMENT)
    del ds.ContentSequence[-1].ContentSequence[-2].ObservationDateTime
    with pytest.raises(InvalidInstance):
        judgement_of(ds)


@pytest.mark.parametrize("vr", ["UN", "OB", "SQ"])
def test_a_report_whose_content_cannot_be_read_is_not_taken_for_accepted(vr: str) -> None:
    ds = judged(report(), ACCEPT, EQUIPMENT)
    ds[0x0040A730] = RawDataElement(BaseTag(0x0040A730), vr, 11, b"no sequence", 0, False, True)
    for reading in (verdict_of, judgement_of):
        with pytest.raises(InvalidInstance):
            reading(ds)


def test_a_verdict_survives_the_way_through_dicom_json() -> None:
    ds = Dataset.from_json(judged(report(), REJECT, EQUIPMENT).to_json())
    assert verdict_of(ds) is Verdict.REJECTED
    assert judgement_of(ds) == REJECT

"""C-FIND, C-GET and C-MOVE with pynetdicom as the other side: statuses, character sets, cancel, what goes wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicomsvc.config import PeerSettings, Permission
from dicomsvc.dimse import DimseServer, outgoing
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.commands import AFFECTED_SOP_CLASS_UID, C_CANCEL_RQ, C_FIND_RQ, encode_request
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.dimse.pdu import A_ASSOCIATE_AC, ProposedContext
from dicomsvc.errors import DamagedFile
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.instances import VL_WHOLE_SLIDE, wsi_dataset
from tests.integration.archive import keep, make_archive
from tests.unit.dimse.wire import COMMAND, EXPLICIT_LITTLE, LAST, associate_request, data_set, wire

Answer = tuple[int, Dataset | None]


@contextmanager
def serving(store: Store, **changes: object) -> Iterator[DimseServer]:
    settings = store.settings.model_copy(update=changes)
    with Store(settings) as opened:
        server = DimseServer(settings.dimse, SERVICES, opened)
        server.start()
        try:
            yield server
        finally:
            server.stop(2)


@pytest.fixture
def server(store: Store) -> Iterator[DimseServer]:
    make_archive(store)
    with serving(store) as running:
        yield running


def identifier(**keys: object) -> Dataset:
    ds = Dataset()
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def associated(port: int, *contexts: object, **options: object) -> Iterator[Association]:
    ae = AE("PYNETDICOM")
    ae.dimse_timeout = ae.network_timeout = 60
    ae.requested_contexts = list(contexts)
    association = ae.associate("127.0.0.1", port, **options)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def find(server: DimseServer, keys: Dataset, model: str = StudyRootQueryRetrieveInformationModelFind) -> list[Answer]:
    with associated(server.port, build_context(model)) as association:
        return [(status.Status, found) for status, found in association.send_c_find(keys, model)]


def test_a_query_in_another_character_set_finds_a_chinese_name_and_answers_in_utf_8(server: DimseServer) -> None:
    keys = identifier(SpecificCharacterSet="GB18030", QueryRetrieveLevel="STUDY", PatientName="王^小东")
    (pending, study), (final, _) = find(server, keys)
    assert (pending, final) == (0xFF00, 0x0000)
    assert study is not None
    assert study.SpecificCharacterSet == "ISO_IR 192"
    assert study.PatientName == "Wang^XiaoDong=王^小东"


def test_implicit_and_explicit_contexts_bring_the_same(server: DimseServer) -> None:
    keys = identifier(QueryRetrieveLevel="IMAGE", Rows=None, ImageType=None, SOPInstanceUID=None, PatientID="P-2")
    model = StudyRootQueryRetrieveInformationModelFind
    answers = []
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        with associated(server.port, build_context(model, syntax)) as association:
            answers.append([found for _, found in association.send_c_find(keys, model) if found])
    assert answers[0] == answers[1]
    assert [(found.Rows, found.ImageType[2]) for found in answers[0]] == [(64, "VOLUME")] * 2


def test_items_of_a_sequence_are_matched_and_returned_with_the_attributes_asked_for(store: Store) -> None:
    wanted, other = wsi_dataset(), wsi_dataset()
    for ds, specimen in ((wanted, "SP-1"), (other, "SP-2")):
        item = identifier(SpecimenIdentifier=specimen, SpecimenUID="1.2.3", SpecimenShortDescription="Kidney")
        ds.SpecimenDescriptionSequence = [item]
    keep(store, wanted, other)
    asked = identifier(SpecimenIdentifier="SP-1", SpecimenShortDescription="")
    with serving(store) as server:
        answers = find(server, identifier(QueryRetrieveLevel="IMAGE", SpecimenDescriptionSequence=[asked]))
        [found] = [found for _, found in answers if found]
        assert found.SOPInstanceUID == wanted.SOPInstanceUID
        assert list(found.SpecimenDescriptionSequence[0].keys()) == [0x00400551, 0x00400600]
        everything = find(server, identifier(QueryRetrieveLevel="IMAGE", SpecimenDescriptionSequence=[]))
        assert all("SpecimenUID" in found.SpecimenDescriptionSequence[0] for _, found in everything if found)


def test_patients_without_an_id_are_told_apart_by_name(store: Store) -> None:
    keep(store, *(wsi_dataset(patient_id="", patient_name=name) for name in ("A^A", "A^A", "B^B")))
    with serving(store) as server:
        keys = identifier(
            QueryRetrieveLevel="PATIENT", PatientID="", PatientName="", NumberOfPatientRelatedStudies=None
        )
        answers = find(server, keys, PatientRootQueryRetrieveInformationModelFind)
        found = sorted((str(ds.PatientName), int(ds.NumberOfPatientRelatedStudies)) for _, ds in answers if ds)
    assert found == [("A^A", 2), ("B^B", 1)]


def test_a_limit_of_results_is_said(store: Store) -> None:
    make_archive(store)
    dimse = store.settings.dimse.model_copy(update={"find_limit": 3})
    with serving(store, dimse=dimse) as server:
        statuses = [status for status, _ in find(server, identifier(QueryRetrieveLevel="IMAGE"))]
        assert statuses == [0xFF00] * 3 + [0xA700]
        assert [status for status, _ in find(server, identifier(QueryRetrieveLevel="PATIENT"))] == [0xA900]


def test_an_identifier_without_a_level_is_refused(server: DimseServer) -> None:
    assert find(server, identifier(PatientName="*")) == [(0xA900, None)]


class Receipts:
    """What came by C-STORE, and what is answered to it."""

    def __init__(self, answer: Callable[[str], int] = lambda uid: 0) -> None:
        self._answer = answer
        self.events: list[tuple[str, object, object]] = []
        self.data_sets: dict[str, bytes] = {}

    def __call__(self, event: Event) -> int:
        request = event.request
        uid = str(request.AffectedSOPInstanceUID)
        self.events.append((uid, request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        self.data_sets[uid] = request.DataSet.getvalue()
        return self._answer(uid)


def get(server: DimseServer, keys: Dataset, receipts: Receipts, *syntaxes: str, role: bool = True) -> list[Answer]:
    model = StudyRootQueryRetrieveInformationModelGet
    with associated(
        server.port,
        build_context(model),
        build_context(VL_WHOLE_SLIDE, list(syntaxes)),
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)] if role else [],
        evt_handlers=[(evt.EVT_C_STORE, receipts)],
    ) as association:
        return [(status.Status, found) for status, found in association.send_c_get(keys, model)]


STUDY_1 = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3.1"}


def test_of_several_syntaxes_in_one_context_the_stored_one_is_chosen(server: DimseServer) -> None:
    receipts = Receipts()
    answers = get(server, identifier(**STUDY_1), receipts, JPEG2000, ExplicitVRLittleEndian, JPEGBaseline8Bit)
    assert len(receipts.data_sets) == 4
    assert answers[-1] == (0x0000, None)


def test_without_the_role_nothing_is_sent_and_all_have_failed(server: DimseServer) -> None:
    receipts = Receipts()
    answers = get(server, identifier(**STUDY_1), receipts, JPEGBaseline8Bit, role=False)
    assert not receipts.events
    status, failed = answers[-1]
    assert status == 0xA702
    assert failed is not None
    assert sorted(failed.FailedSOPInstanceUIDList) == ["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1", "1.2.3.1.2.2"]


def test_instances_that_the_requester_refuses_are_listed_and_warnings_counted(server: DimseServer) -> None:
    statuses = {"1.2.3.1.1.1": 0xA700, "1.2.3.1.1.2": 0xB007}
    receipts = Receipts(lambda uid: statuses.get(uid, 0))
    model = StudyRootQueryRetrieveInformationModelGet
    with associated(
        server.port,
        build_context(model),
        build_context(VL_WHOLE_SLIDE, JPEGBaseline8Bit),
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, receipts)],
    ) as association:
        *pending, (final, failed) = association.send_c_get(identifier(**STUDY_1), model)
    assert [status.Status for status, _ in pending] == [0xFF00] * 3
    assert [status.NumberOfRemainingSuboperations for status, _ in pending] == [3, 2, 1]
    assert final.Status == 0xB000
    assert (
        final.NumberOfCompletedSuboperations,
        final.NumberOfFailedSuboperations,
        final.NumberOfWarningSuboperations,
    ) == (2, 1, 1)
    assert "NumberOfRemainingSuboperations" not in final
    assert failed.FailedSOPInstanceUIDList == "1.2.3.1.1.1"


def test_a_cancelled_get_ends_with_what_remains(store: Store) -> None:
    uid = "1.2.9"
    keep(store, *(wsi_dataset(study_instance_uid=uid, series_instance_uid="1.2.9.1", frames=1) for _ in range(20)))
    with serving(store) as server:
        receipts = Receipts()
        model = StudyRootQueryRetrieveInformationModelGet
        with associated(
            server.port,
            build_context(model),
            build_context(VL_WHOLE_SLIDE, JPEGBaseline8Bit),
            ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, receipts)],
        ) as association:
            keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)
            final = None
            for number, (status, _) in enumerate(association.send_c_get(keys, model, msg_id=7)):
                if number == 2:
                    association.send_c_cancel(7, query_model=model)
                final = status
            assert final is not None
            assert final.Status == 0xFE00
            assert final.NumberOfRemainingSuboperations + final.NumberOfCompletedSuboperations == 20
            assert 3 <= len(receipts.events) < 20


def test_a_find_that_is_cancelled_at_once_brings_nothing(server: DimseServer) -> None:
    model = StudyRootQueryRetrieveInformationModelFind
    query = encode_request(C_FIND_RQ, 5, {AFFECTED_SOP_CLASS_UID: model})
    keys = encode_data_set(identifier(QueryRetrieveLevel="IMAGE"), EXPLICIT_LITTLE)
    cancel = encode_request(C_CANCEL_RQ, 5, {0x0120: 5}, has_data_set=False)
    with wire(server.port) as peer:
        peer.send(associate_request(contexts=[ProposedContext(1, model, (EXPLICIT_LITTLE,))]))
        assert peer.read_pdu()[0] == A_ASSOCIATE_AC
        command = pdu_and_pdv_header(1, len(query), COMMAND | LAST) + query
        peer.send(command + data_set(keys, 1) + pdu_and_pdv_header(1, len(cancel), COMMAND | LAST) + cancel)
        assert peer.response().status == 0xFE00
        peer.send(command + data_set(keys, 1))
        assert peer.response().status == 0xFF00


def damage(store: Store, sop_instance_uid: str) -> None:
    """Flip one bit of a stored file."""
    path = store.instances.find_sop_instance(sop_instance_uid).path
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def test_of_a_damaged_file_too_large_to_be_read_twice_the_last_fragment_never_leaves(
    server: DimseServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_CHECKED_BEFORE_BYTES", 0)
    damage(store, "1.2.3.1.1.2")
    receipts = Receipts()
    model = StudyRootQueryRetrieveInformationModelGet
    with associated(
        server.port,
        build_context(model),
        build_context(VL_WHOLE_SLIDE, JPEGBaseline8Bit),
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, receipts)],
    ) as association:
        answers = list(association.send_c_get(identifier(**STUDY_1), model))
    assert "1.2.3.1.1.2" not in receipts.data_sets
    assert "Status" not in answers[-1][0]
    with pytest.raises(DamagedFile):
        store.instances.find_sop_instance("1.2.3.1.1.2").readable_path()


def test_a_peer_gets_no_more_than_it_may(store: Store) -> None:
    make_archive(store)
    peers = {"p": PeerSettings(ae_title="PYNETDICOM", may=frozenset({Permission.STORE}))}
    with serving(store, peers=peers) as server:
        assert find(server, identifier(QueryRetrieveLevel="STUDY")) == [(0x0124, None)]
        receipts = Receipts()
        assert get(server, identifier(**STUDY_1), receipts, JPEGBaseline8Bit)[-1][0] == 0x0124
        assert not receipts.events
        model = StudyRootQueryRetrieveInformationModelMove
        with associated(server.port, build_context(model)) as association:
            [(status, _)] = association.send_c_move(identifier(**STUDY_1), "PYNETDICOM", model)
            assert status.Status == 0x0124


class TestMove:
    """C-MOVE to a pynetdicom storage provider."""

    @pytest.fixture
    def receipts(self) -> Receipts:
        return Receipts()

    @pytest.fixture
    def profile(self) -> str | None:
        return None

    @pytest.fixture
    def mover(self, store: Store, receipts: Receipts, profile: str | None) -> Iterator[DimseServer]:
        make_archive(store)
        ae = AE("DESTINATION")
        ae.add_supported_context(VL_WHOLE_SLIDE, [JPEGBaseline8Bit])
        receiver = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, receipts)])
        peer = PeerSettings(
            ae_title="DESTINATION",
            host="127.0.0.1",
            port=receiver.server_address[1],
            may=frozenset({Permission.MOVE_DESTINATION}),
            deidentify=profile,
        )
        dimse = store.settings.dimse.model_copy(update={"accept_unknown": True})
        with serving(store, peers={"destination": peer}, dimse=dimse) as running:
            yield running
        receiver.shutdown()

    def move(self, server: DimseServer, destination: str = "DESTINATION") -> list[tuple[Dataset, Dataset | None]]:
        model = StudyRootQueryRetrieveInformationModelMove
        with associated(server.port, build_context(model)) as association:
            return list(association.send_c_move(identifier(**STUDY_1), destination, model, msg_id=11))

    def test_the_destination_learns_whose_move_it_was(self, mover: DimseServer, receipts: Receipts) -> None:
        answers = self.move(mover)
        assert [status.Status for status, _ in answers] == [0xFF00] * 3 + [0x0000]
        assert {(title, number) for _, title, number in receipts.events} == {("PYNETDICOM", 11)}
        assert len(receipts.data_sets) == 4

    def test_a_destination_that_refuses_half_is_told(self, mover: DimseServer, receipts: Receipts) -> None:
        receipts._answer = lambda uid: 0xA700 if uid.endswith("1") else 0
        status, failed = self.move(mover)[-1]
        assert status.Status == 0xB000
        assert failed is not None
        assert sorted(failed.FailedSOPInstanceUIDList) == ["1.2.3.1.1.1", "1.2.3.1.2.1"]

    def test_a_destination_that_breaks_off_costs_the_instance_under_way(
        self, mover: DimseServer, receipts: Receipts
    ) -> None:
        broken: list[str] = []

        def break_once(event: Event) -> int:
            uid = str(event.request.AffectedSOPInstanceUID)
            if not broken:
                broken.append(uid)
                event.assoc.abort()
            return 0

        receipts.__class__ = type("Breaking", (Receipts,), {"__call__": lambda self, event: break_once(event)})
        status, failed = self.move(mover)[-1]
        assert status.Status == 0xB000
        assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (3, 1)
        assert failed is not None
        assert failed.FailedSOPInstanceUIDList == broken[0]

    @pytest.mark.parametrize("checked_before", [True, False])
    def test_a_damaged_file_is_not_sent_and_is_marked(
        self,
        checked_before: bool,
        monkeypatch: pytest.MonkeyPatch,
        mover: DimseServer,
        receipts: Receipts,
        store: Store,
    ) -> None:
        if not checked_before:
            monkeypatch.setattr(outgoing, "_CHECKED_BEFORE_BYTES", 0)
        damage(store, "1.2.3.1.1.2")
        status, failed = self.move(mover)[-1]
        assert (status.Status, status.NumberOfCompletedSuboperations) == (0xB000, 3)
        assert failed is not None
        assert failed.FailedSOPInstanceUIDList == "1.2.3.1.1.2"
        assert "1.2.3.1.1.2" not in receipts.data_sets
        with pytest.raises(DamagedFile):
            store.instances.find_sop_instance("1.2.3.1.1.2").readable_path()

    @pytest.mark.parametrize("profile", ["basic"])
    def test_a_destination_with_a_profile_gets_de_identified_copies(
        self, mover: DimseServer, receipts: Receipts, store: Store
    ) -> None:
        status, _ = self.move(mover)[-1]
        assert (status.Status, status.NumberOfCompletedSuboperations) == (0x0000, 4)
        assert len(receipts.data_sets) == 4
        for uid, content in receipts.data_sets.items():
            assert not uid.startswith("1.2.3.1")
            assert b"Adams" not in content
            assert uid.encode() in content
        assert not list(store.layout.spool.rglob("*.part"))

    def test_instances_without_a_unique_key_are_not_all_that_there_is(self, mover: DimseServer) -> None:
        model = StudyRootQueryRetrieveInformationModelMove
        with associated(mover.port, build_context(model)) as association:
            for keys in (
                identifier(QueryRetrieveLevel="STUDY"),
                identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="*"),
            ):
                [(status, _)] = association.send_c_move(keys, "DESTINATION", model)
                assert status.Status == 0xA900

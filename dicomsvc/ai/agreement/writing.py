"""A consensus as a new object in the store: bulk annotations that say whose drawings they were made of."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import MicroscopyBulkSimpleAnnotationsStorage

import dicomsvc
from dicomsvc.ai.agreement.consensus import consensus_things
from dicomsvc.ai.agreement.stored import VOTE, Drawn, Question, drawn_slides
from dicomsvc.ai.agreement.things import Thing, groups, outline_of, things_of_marks
from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.ai.training.data.choice import LeftOut
from dicomsvc.ai.training.data.marks import NO_CLASS
from dicomsvc.errors import Conflict
from dicomsvc.objects.annotations import AnnotationGroup, Generation, GraphicType, write_annotations
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance, StoredObject
from dicomsvc.store import Source, Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

UNDECIDED: Final = "Undecided"
_SERIES_NUMBER: Final = 951
_COLOURS: Final = ((0, 158, 115), (213, 94, 0), (0, 114, 178), (204, 121, 167), (230, 159, 0), (86, 180, 233))


@dataclass(frozen=True, slots=True)
class WrittenConsensus:
    """A consensus that was stored."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    annotators: tuple[str, ...]
    things: int
    sources: tuple[str, ...]
    """The objects that it was made of."""


def write_consensus(store: Store, question: Question, who: str) -> list[WrittenConsensus]:
    """Store what more than half of the annotators drew, for each slide that two or more drew outlines on.

    ``who`` is the user who is logged in.

    Raises
    ------
    NotFound, TooLarge
        As `compare_stored`.
    Conflict
        When there are no two annotators with outlines, or no thing has a majority.
    InvalidInstance, UnfitSlide
        When the slide lacks what every object must repeat.
    """
    made = [_write(store, each, question, who) for each in drawn_slides(store, question, LeftOut())]
    written = [each for each in made if each is not None]
    if not written:
        raise Conflict("no thing was outlined by more than half of the annotators; nothing was written")
    return written


def _write(store: Store, drawn: Drawn, question: Question, who: str) -> WrittenConsensus | None:
    outlined = [each for each in zip(drawn.annotators, drawn.drawings, strict=True) if each[1].marks]
    names = tuple(name for name, _ in outlined)
    drawings, pixel = things_of_marks([drawing.marks for _, drawing in outlined])
    things = consensus_things(groups(drawings, question.least_iou), len(names))
    if len(names) < 2 or not things:
        return None
    uids = question.study_instance_uid, drawn.slide.series_instance_uid
    records = {uid: record for _, drawing in outlined for uid, record in drawing.records.items()}
    sources = tuple(
        StoredObject(each.series_instance_uid, each.sop_class_uid, uid) for uid, each in sorted(records.items())
    )
    provenance = _provenance(store, question, names, sources, who)
    identity = Identity(
        series_instance_uid=derived_uid("consensus", *uids, provenance.work_item_uid, "series"),
        series_number=_SERIES_NUMBER,
        series_description="Consensus of annotators",
        sop_instance_uid=derived_uid("consensus", *uids, provenance.work_item_uid),
        content_label="CONSENSUS",
    )
    source = open_subject(store, *uids).source
    with store.spool() as file:
        write_annotations(file.write, source, _groups(things, drawn, pixel), identity, provenance)
        stored = store.add(file, Source("consensus", who))
    _audit(store, who, stored.sop_instance_uid, len(names))
    return WrittenConsensus(
        uids[0],
        identity.series_instance_uid,
        str(MicroscopyBulkSimpleAnnotationsStorage),
        stored.sop_instance_uid,
        names,
        len(things),
        tuple(each.sop_instance_uid for each in sources),
    )


def _provenance(
    store: Store, question: Question, names: Sequence[str], sources: tuple[StoredObject, ...], who: str
) -> Provenance:
    parameters = {"annotators": str(len(names)), "least_iou": f"{question.least_iou:g}"}
    parameters["sources"] = ",".join(each.sop_instance_uid for each in sources)
    return Provenance(
        algorithm=Algorithm(VOTE, dicomsvc.__version__, codes.DCM.ManualProcessing, "", parameters=parameters),
        equipment=Equipment("dicomsvc", "dicomsvc", store.settings.dimse.ae_title, (dicomsvc.__version__,)),
        created=datetime.now(UTC),
        work_item_uid=f"2.25.{uuid.uuid4().int}",
        requested_by=who,
        statement=f"Majority vote of {len(names)} annotators",
        sources=sources,
    )


def _groups(things: Sequence[Thing], drawn: Drawn, pixel: float) -> list[AnnotationGroup]:
    """Return a group for each class, in slide pixels."""
    known = {mark.label: mark.code for drawing in drawn.drawings for mark in drawing.marks if mark.code is not None}
    made = []
    for number, label in enumerate(sorted({thing.label for thing in things})):
        outlines = [outline_of(thing) * pixel for thing in things if thing.label == label]
        name = NO_CLASS if label == NO_CLASS else label or UNDECIDED
        kind: Code = known.get(label) or codes.SCT.Tissue
        finding = FindingClass(name[:64], codes.SCT.AnatomicalStructure, kind, _COLOURS[number % len(_COLOURS)])
        offsets = np.cumsum([0, *map(len, outlines)], dtype=np.int64)
        points = np.concatenate(outlines).astype(np.float32)
        made.append(AnnotationGroup(finding, GraphicType.POLYGON, points, offsets, generation=Generation.SEMIAUTOMATIC))
    return made


def _audit(store: Store, who: str, sop_instance_uid: str, annotators: int) -> None:
    detail = {"sop_instance_uid": sop_instance_uid, "annotators": annotators}
    with database_errors(), store.engine.begin() as connection:
        connection.execute(audit.insert().values(who=who, action="consensus", detail=detail))

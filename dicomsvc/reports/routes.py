"""``/api/reports``: pathology reports in, as a table, one by one, reviewed, and out."""

import json
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse

from dicomsvc.errors import BadRequest, Conflict
from dicomsvc.jobs import Jobs
from dicomsvc.reports.exports import MEDIA_TYPES, Export, Format, Shape, case_of, in_pieces
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.intake.received import Source as Way
from dicomsvc.reports.intake.structuring import require_languages
from dicomsvc.reports.intake_routes import add_intake
from dicomsvc.reports.objects import store_sr
from dicomsvc.reports.repository.filters import parse_filter
from dicomsvc.reports.repository.linking import match_by_hand
from dicomsvc.reports.repository.records import Review, State
from dicomsvc.reports.repository.reviews import review
from dicomsvc.reports.repository.search import ReportQuery, search
from dicomsvc.reports.repository.whole import HeldReport, held_reports, text_of_version, whole_report
from dicomsvc.reports.route_models import (
    FieldEntry,
    MatchOrder,
    ObjectEntry,
    OptionEntry,
    ReportDetail,
    ReportPage,
    ReportRow,
    ReviewOrder,
)
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

Id = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$", description="UID of the report")]
Name = Annotated[str | None, Query(max_length=256)]
_MOST_FILTERS: Final = 30
_FILTER: Final = "field."
_PIECE: Final = 1 << 16
_PRIVATE: Final = {"Cache-Control": "no-store"}


def report_routes(store: Store, jobs: Jobs) -> APIRouter:
    """Return the routes under ``/api/reports``."""
    router = APIRouter(prefix="/api/reports", tags=["reports"])
    add_intake(router, store, jobs)
    _add_table(router, store)
    _add_export(router, store)
    _add_single(router, store)
    _add_review(router, store)
    return router


def report_query(
    request: Request,
    q: Annotated[str, Query(max_length=500, description='Words in the text: `a b`, `"a b"`, `a or b`, `-a`')] = "",
    status: ReportStatus | None = None,
    state: State | None = None,
    review: Review | None = None,
    source: Way | None = None,
    held: Annotated[bool | None, Query(description="True: reports without a study")] = None,
    accession_number: Name = None,
    patient_id: Name = None,
    report_id: Name = None,
    study_instance_uid: Name = None,
    received_from: datetime | None = None,
    received_before: datetime | None = None,
    sort: Annotated[
        str, Query(max_length=80, description="`-received`, `accession_number`, `field.tumor_size_mm`; `-` descends")
    ] = "-received",
) -> ReportQuery:
    """Return the query of a request; each parameter `field.NAME` is a filter on a field."""
    said = [
        (name[len(_FILTER) :], value) for name, value in request.query_params.multi_items() if name.startswith(_FILTER)
    ]
    if len(said) > _MOST_FILTERS:
        raise BadRequest(f"at most {_MOST_FILTERS} filters on fields")
    filters = tuple(parse_filter(name, value) for name, value in said)
    sorted_by = sort.removeprefix("-")
    _require_fields([each.field for each in filters] + [sorted_by[len(_FILTER) :]] * sorted_by.startswith(_FILTER))
    return ReportQuery(
        words=q.strip(),
        fields=filters,
        status=status,
        state=state,
        review=review,
        source=source,
        held=held,
        accession_number=accession_number,
        patient_id=patient_id,
        report_id=report_id,
        study_instance_uid=study_instance_uid,
        received_from=received_from,
        received_before=received_before,
        sort=sort,
    )


Wanted = Annotated[ReportQuery, Depends(report_query)]
Columns = Annotated[str, Query(max_length=4000, description="Fields, with commas between")]


def _add_table(router: APIRouter, store: Store) -> None:
    @router.get("", summary="Reports as a table: any fields as columns, filters on any field, words in the text")
    def table(
        request: Request,
        query: Wanted,
        columns: Columns = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> ReportPage:
        with database_errors(), store.engine.connect() as connection:
            total, hits = search(connection, query, _columns(columns), limit, offset)
        _note(store, request, "report-search", {"found": total})
        return ReportPage(total=total, offset=offset, reports=[ReportRow.of_hit(hit) for hit in hits])

    @router.get("/fields", summary="The fields that there are, with the values that they can have")
    def list_fields() -> list[FieldEntry]:
        require_languages()
        from dicomsvc.reports.schema import fields

        return [
            FieldEntry(
                id=each.id,
                kind=each.kind,
                title=dict(each.title),
                organs=list(each.organs),
                unit=each.unit,
                options=[OptionEntry(value=option.value, title=dict(option.title)) for option in each.options],
            )
            for each in fields().values()
        ]


def _add_export(router: APIRouter, store: Store) -> None:
    @router.get("/export", response_class=StreamingResponse, summary="All reports that fit, as a file")
    def export(
        request: Request,
        query: Wanted,
        format: Annotated[Format, Query(description="What the file is")] = Format.CSV,  # noqa: A002 - the parameter's name
        shape: Annotated[Shape, Query(description="CSV and Parquet: a row a report, or a row a value")] = Shape.WIDE,
        columns: Columns = "",
    ) -> StreamingResponse:
        require_languages()
        chosen = _columns(columns) or None
        _note(store, request, "report-export", {"format": format})
        wanted = Export(store.engine, query)
        suffix = "jsonl" if format is Format.CORRECTIONS else format.value
        headers = {"Content-Disposition": f'attachment; filename="reports.{suffix}"', **_PRIVATE}
        if format is Format.PARQUET:
            file = tempfile.TemporaryFile(dir=store.layout.root)  # noqa: SIM115 - closed once it is sent
            wanted.write_parquet(file, shape, chosen)
            return StreamingResponse(_pieces(file), media_type=MEDIA_TYPES[format], headers=headers)
        lines = in_pieces(wanted.lines(format, shape, chosen))
        return StreamingResponse(lines, media_type=MEDIA_TYPES[format], headers=headers)


def _add_single(router: APIRouter, store: Store) -> None:
    @router.get("/{uid}", summary="One report: text, values with evidence, reviews, versions; its ETag is for reviews")
    def show(uid: Id, request: Request, response: Response) -> ReportDetail:
        detail = _detail(store, uid, response)
        _note(store, request, "report-read", {"report": uid}, detail.study_instance_uid)
        return detail

    @router.get("/{uid}/versions/{number}", summary="Text and values of one version, as the software read it")
    def version(uid: Id, number: Annotated[int, PathParameter(ge=1, lt=1 << 31)], request: Request) -> dict[str, Any]:
        with database_errors(), store.engine.connect() as connection:
            text, document = text_of_version(connection, uid, number)
        _note(store, request, "report-read", {"report": uid, "version": number})
        return {"text": text, "document": document}

    @router.get("/{uid}/fhir", response_class=Response, summary="One report as a FHIR R4 bundle")
    def fhir(uid: Id, request: Request, transaction: bool = False) -> Response:
        require_languages()
        from dicomsvc.reports.fhir import fhir_bundle

        held = _held(store, uid)
        _note(store, request, "report-export", {"report": uid, "format": "fhir"}, held.record.study_instance_uid)
        bundle = fhir_bundle(held.structured, case_of(held), transaction=transaction)
        content = json.dumps(bundle, ensure_ascii=False)
        return Response(content, media_type="application/fhir+json", headers=_PRIVATE)

    @router.get("/{uid}/hl7", response_class=Response, summary="One report as an HL7 v2 ORU^R01 message")
    def hl7(uid: Id, request: Request) -> Response:
        require_languages()
        from dicomsvc.reports.hl7.writing import Route, oru_message

        held = _held(store, uid)
        _note(store, request, "report-export", {"report": uid, "format": "hl7"}, held.record.study_instance_uid)
        control_id = f"{uid[:12]}{held.record.revision}"[:20]
        message = oru_message(held.structured, case_of(held), Route(), control_id)
        return Response(message, media_type="application/hl7-v2; charset=utf-8", headers=_PRIVATE)

    @router.post("/{uid}/sr", status_code=201, summary="Store the report as DICOM SR in its study")
    def sr(uid: Id, request: Request) -> ObjectEntry:
        require_languages()
        return ObjectEntry.of(store_sr(store, uid, _user(request)))


def _add_review(router: APIRouter, store: Store) -> None:
    @router.post("/{uid}/review", summary="Accept, correct, add, remove values; sign the report, reopen it")
    def give_review(
        uid: Id,
        order: ReviewOrder,
        request: Request,
        response: Response,
        if_match: Annotated[str | None, Header(max_length=80, description="The ETag of what the person saw")] = None,
    ) -> ReportDetail:
        require_languages()
        with database_errors(), store.engine.begin() as connection:
            review(connection, uid, _revision(if_match), order.said, _user(request))
        return _detail(store, uid, response)

    @router.post("/{uid}/match", summary="Say which study a report belongs to")
    def match(uid: Id, order: MatchOrder, request: Request, response: Response) -> ReportDetail:
        with database_errors(), store.engine.begin() as connection:
            match_by_hand(connection, uid, order.study_instance_uid, _user(request))
        return _detail(store, uid, response)


def _held(store: Store, uid: str) -> HeldReport:
    with database_errors(), store.engine.connect() as connection:
        record = whole_report(connection, uid).record
        found = list(held_reports(connection, [uid]))
    if not found:
        raise Conflict(f"report {uid} is {record.state}: there is nothing to send")
    return found[0]


def _detail(store: Store, uid: str, response: Response) -> ReportDetail:
    with database_errors(), store.engine.connect() as connection:
        whole = whole_report(connection, uid)
    response.headers["ETag"] = f'"{whole.record.revision}"'
    response.headers.update(_PRIVATE)
    return ReportDetail.of_whole(whole)


def _revision(if_match: str | None) -> int | None:
    """Return the revision that a person saw; ``*`` stands for any."""
    if if_match is None:
        raise BadRequest("send If-Match with the report's ETag, so that nothing is signed that nobody saw")
    if if_match.strip() == "*":
        return None
    number = if_match.strip().strip('"')
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1


def _columns(said: str) -> list[str]:
    names = [name.strip() for name in said.split(",") if name.strip()]
    _require_fields(names)
    return names


def _require_fields(names: list[str]) -> None:
    if not names:
        return
    require_languages()
    from dicomsvc.reports.schema import fields

    if any(name not in fields() for name in names):
        raise BadRequest("there is no field of such a name; GET /api/reports/fields lists them")


def _note(
    store: Store, request: Request, action: str, detail: dict[str, Any], study_instance_uid: str | None = None
) -> None:
    """Write in the audit record that somebody saw reports; what was looked for is not written."""
    values = {"who": _user(request), "action": action, "study_instance_uid": study_instance_uid, "detail": detail}
    with database_errors(), store.engine.begin() as connection:
        connection.execute(audit.insert().values(values))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece


def _user(request: Request) -> str:
    return request.scope.get("user") or "anonymous"

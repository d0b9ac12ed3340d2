"""``POST /api/reports``: reports coming in over HTTP, one or many."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from email.message import Message
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter

from dicomsvc.errors import BadRequest, TooLarge, UnsupportedMediaType
from dicomsvc.jobs import Jobs
from dicomsvc.reports.intake.orders import ReportOrder, order_in
from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport, ReportStatus, Source
from dicomsvc.reports.intake.receiving import Intake
from dicomsvc.reports.intake.structuring import order_structuring, require_languages
from dicomsvc.reports.objects import report_in
from dicomsvc.reports.repository.receiving import LARGEST_TEXT, Receipt
from dicomsvc.reports.route_models import BatchEntry, LineEntry, ReceiptEntry
from dicomsvc.store import Store

# JSON writes a character in six bytes at most.
_LARGEST_BODY: Final = 6 * LARGEST_TEXT
_LARGEST_BATCH: Final = 256 << 20
_MOST_LINES: Final = 10_000
_JSON_LINES: Final = ("application/x-ndjson", "application/jsonl", "application/jsonlines", "application/ndjson")
_FHIR: Final = "application/fhir+json"
_HL7: Final = ("application/hl7-v2", "x-application/hl7-v2+er7", "application/hl7-v2+er7")
Name = Annotated[str, Query(max_length=256)]
Key = Annotated[str, Header(max_length=200, description="The same key makes one report, however often it is sent")]
Uid = Annotated[str, PathParameter(max_length=64, pattern=r"^[0-9.]+$")]


def add_intake(router: APIRouter, store: Store, jobs: Jobs) -> None:
    """Add the routes by which reports come in."""
    intake = Intake(store)

    @router.post("", status_code=201, summary="Bring a report in: JSON, text, PDF, RTF, HTML, FHIR or HL7 v2")
    async def create(
        request: Request,
        response: Response,
        report_id: Name = "",
        accession_number: Name = "",
        patient_id: Name = "",
        sender: Name = "",
        study_instance_uid: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9.]+$")] = None,
        status: ReportStatus = ReportStatus.FINAL,
        idempotency_key: Key = "",
    ) -> ReceiptEntry:
        """The body's type says what it is; the parameters are for types that hold nothing but the text."""
        require_languages()
        said = ReportOrder(
            report_id=report_id,
            accession_number=accession_number,
            patient_id=patient_id,
            sender=sender,
            study_instance_uid=study_instance_uid,
            status=status,
            control_id=idempotency_key,
        )
        content = await _body(request)
        received = await asyncio.to_thread(_received, content, request.headers.get("content-type", ""), said)
        return _answered(await asyncio.to_thread(_receive_all, intake, received, _user(request)), response)

    @router.post("/batch", status_code=202, summary="Bring many reports in: JSON Lines, each with `text` and `id`")
    async def create_many(request: Request) -> BatchEntry:
        """Each line is answered; what is accepted is structured by a work item."""
        require_languages()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JSON_LINES:
            raise UnsupportedMediaType("send the reports as JSON Lines (application/x-ndjson)")
        who = _user(request)
        lines = [
            await asyncio.to_thread(_line, intake, number, line, who)
            async for number, line in _lines(request.stream())
            if line.strip()
        ]
        counts = Counter(line.answer for line in lines)
        job = await asyncio.to_thread(order_structuring, jobs, who) if counts[Answer.ACCEPTED] else None
        return BatchEntry(
            accepted=counts[Answer.ACCEPTED],
            duplicate=counts[Answer.DUPLICATE],
            rejected=counts[Answer.REJECTED],
            job_url=None if job is None else f"/api/jobs/{job.uid}",
            reports=lines,
        )

    @router.post(
        "/of-instance/{sop_instance_uid}",
        status_code=201,
        summary="Take the report out of a stored structured report or Encapsulated PDF",
    )
    def create_of_instance(sop_instance_uid: Uid, request: Request, response: Response) -> ReceiptEntry:
        require_languages()
        receipt = intake.receive(report_in(store, sop_instance_uid), _user(request))
        return _answered(receipt, response)


def _answered(receipt: Receipt, response: Response) -> ReceiptEntry:
    outcome = receipt.outcome
    if outcome.answer is Answer.REJECTED:
        raise BadRequest(outcome.reason)
    if outcome.answer is Answer.DUPLICATE:
        response.status_code = 200
    entry = ReceiptEntry.of(receipt)
    response.headers["Location"] = entry.url or ""
    return entry


def _receive_all(intake: Intake, reports: list[ReceivedReport], who: str) -> Receipt:
    """Receive what one body holds, and return what became of the first that is not accepted, else of the first."""
    receipts = [intake.receive(report, who) for report in reports]
    rejected = [receipt for receipt in receipts if receipt.outcome.answer is Answer.REJECTED]
    return (rejected or receipts)[0]


def _received(content: bytes, content_type: str, said: ReportOrder) -> list[ReceivedReport]:
    header = Message()
    header["Content-Type"] = content_type
    kind = header.get_content_type() if content_type else "application/octet-stream"
    charset = str(header.get_param("charset", "utf-8"))
    if kind == "application/json":
        order = order_in(content)
        key = order.control_id or said.control_id
        return [order.model_copy(update={"control_id": key}).received(Source.REST)]
    if kind == _FHIR:
        from dicomsvc.reports.fhir import read_diagnostic_report

        return read_diagnostic_report(content)
    if kind in _HL7:
        from dicomsvc.hl7.message import parse_message
        from dicomsvc.reports.hl7.reading import read_reports

        return read_reports(parse_message(content, charset))
    from dicomsvc.reports.attachment import text_of

    return [said.model_copy(update={"text": text_of(content, kind, charset)}).received(Source.REST)]


def _line(intake: Intake, number: int, line: bytes, who: str) -> LineEntry:
    report_id = ""
    try:
        order = order_in(line)
        report_id = order.report_id
        receipt = intake.keep(order.received(Source.REST), who)
    except BadRequest as error:
        receipt = Receipt(Outcome(Answer.REJECTED, error.message))
    return LineEntry(line=number, report_id=report_id, **ReceiptEntry.of(receipt).model_dump())


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_BODY:
            raise TooLarge(f"a report has at most {LARGEST_TEXT} characters")
    return bytes(body)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    rest = bytearray()
    number = total = 0
    async for piece in pieces:
        total += len(piece)
        rest += piece
        if total > _LARGEST_BATCH or len(rest) > _LARGEST_BODY:
            raise TooLarge(f"a batch has at most {_LARGEST_BATCH >> 20} MiB, and a line {_LARGEST_BODY >> 20} MiB")
        if b"\n" not in piece:
            continue
        *whole, last = bytes(rest).split(b"\n")
        rest = bytearray(last)
        for line in whole:
            number += 1
            _require_few(number)
            yield number, line
    if rest:
        _require_few(number + 1)
        yield number + 1, bytes(rest)


def _require_few(number: int) -> None:
    if number > _MOST_LINES:
        raise TooLarge(f"a batch has at most {_MOST_LINES} lines; those before are kept, send the rest in another")


def _user(request: Request) -> str:
    return request.scope.get("user") or "anonymous"

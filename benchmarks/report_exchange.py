"""Reports in over MLLP against the ``hl7`` package's server, and the cost of each way out, in one run.

    python -m benchmarks.report_exchange [--messages 500] [--rounds 3]

The client is `hl7.client.MLLPClient` in both cases, on one connection, each message answered before the next; a message
is an ORU^R01 in UTF-8 with a Chinese report of some 4,000 characters in 60 OBX segments. Both servers run in a process
of their own. The peer's handler does what its documentation shows: it parses the message and sends an ACK, and does not
read the report out of it; ours joins the text and says whose it is. Neither stores anything.
"""

import argparse
import asyncio
import io
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from hl7.client import MLLPClient

from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.values import Evidence, FieldValue, Quality, StructuredReport

LINE = "左肾上极见一肿物，大小4.5×3.2×3.0cm，切面金黄色，与周围组织界限清楚，未累及肾窦脂肪及肾静脉。WHO/ISUP 2级。"
VALUES = 30


def message(number: int) -> bytes:
    lines = "".join(f"OBX|{line}|TX|D^Diagnosis||{LINE}||||||F\r" for line in range(1, 61))
    return (
        rf"MSH|^~\&|LIS|PATH|DS|H|20260102||ORU^R01^ORU_R01|{number}|P|2.5.1||||||UNICODE UTF-8"
        f"\rPID|1||P-1^^^H^MR\rOBR|1|PL|S{number}|88305|||20260101|||||||||||||||20260101||||F\r{lines}"
    ).encode()


def serve_ours(ready: Connection) -> None:
    from dicomsvc.hl7.handlers import Handler, Handlers
    from dicomsvc.hl7.mllp import MllpListener
    from dicomsvc.reports.intake.mllp import ReportMessages
    from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport

    async def receive(report: ReceivedReport) -> Outcome:
        return Outcome(Answer.ACCEPTED)

    async def run() -> None:
        handlers = Handlers({("ORU", "R01"): Handler(ReportMessages(receive).handle)})
        listener = MllpListener(("127.0.0.1", 0), handlers)
        await listener.start()
        ready.send(listener.port)
        await asyncio.Event().wait()

    asyncio.run(run())


def serve_peer(ready: Connection) -> None:
    import hl7.mllp

    async def answer(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        while not writer.is_closing():
            received = await reader.readmessage()
            writer.writemessage(received.create_ack())
            await writer.drain()

    async def run() -> None:
        server = await hl7.mllp.start_hl7_server(answer, "127.0.0.1", 0, encoding="utf-8", limit=1 << 24)
        ready.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(run())


def round_trips_a_second(serve: Callable[[Connection], None], messages: int) -> float:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        bodies = [message(number) for number in range(messages)]
        with MLLPClient("127.0.0.1", ours.recv()) as client:
            client.send_message(bodies[0])
            begun = time.perf_counter()
            for body in bodies:
                assert b"MSA|AA" in client.send_message(body)
            return messages / (time.perf_counter() - begun)
    finally:
        process.terminate()
        process.join()


def structured() -> tuple[ReportCase, StructuredReport]:
    text = "\n".join(["FINAL DIAGNOSIS:", *[LINE] * 60])
    place = (Evidence(20, 40),)
    values = tuple(FieldValue(f"field_{number}", "present", evidence=place, rule="made/1") for number in range(VALUES))
    case = ReportCase("S1", datetime(2026, 1, 2, tzinfo=UTC), "A1", patient_id="P-1")
    return case, StructuredReport(text, Quality(1.0, "zh", True), ("kidney",), values, "1")


def milliseconds(make: Callable[[], object], times: int = 20) -> float:
    make()
    begun = time.perf_counter()
    for _ in range(times):
        make()
    return (time.perf_counter() - begun) / times * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ours, peer = [], []
    for _ in range(options.rounds):
        ours.append(round_trips_a_second(serve_ours, options.messages))
        peer.append(round_trips_a_second(serve_peer, options.messages))
    mine, theirs = statistics.median(ours), statistics.median(peer)
    print(f"MLLP, round trips/s: ours {mine:.0f}, hl7's server {theirs:.0f}, ratio {mine / theirs:.2f}")
    print_ways_out()


def print_ways_out() -> None:
    from dicomsvc.reports.fhir import fhir_bundle
    from dicomsvc.reports.hl7.writing import Route, oru_message
    from dicomsvc.reports.tables import csv_lines, wide_columns, wide_rows, write_long_parquet

    case, report = structured()
    columns = wide_columns()
    ways: dict[str, Callable[[], object]] = {
        "FHIR bundle, checked": lambda: fhir_bundle(report, case),
        "ORU^R01": lambda: oru_message(report, case, Route(), "1"),
        "CSV row": lambda: "".join(csv_lines(wide_rows([(case, report)]), columns)),
        "Parquet, 100 reports": lambda: write_long_parquet(_long(case, report), io.BytesIO()),
    }
    for name, make in ways.items():
        print(f"{name}: {milliseconds(make):.1f} ms")


def _long(case: ReportCase, report: StructuredReport) -> Iterator[dict[str, object]]:
    from dicomsvc.reports.tables import long_rows

    return long_rows([(case, report)] * 100)


if __name__ == "__main__":
    main()

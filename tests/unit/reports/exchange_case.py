"""A report with fields of every shape, made up, in both languages; what it is about; and documents that hold text."""

from datetime import UTC, datetime

from dicomsvc.reports.case import ReportCase, SignOff
from dicomsvc.reports.values import Assertion, Coding, Evidence, FieldValue, Quality, Status, StructuredReport

TEXT = """CLINICAL HISTORY: mass found by chance.
FINAL DIAGNOSIS:
A. 左肾 Left kidney, nephrectomy: Clear cell renal cell carcinoma, 4.5 cm. LVI: not identified. pT1b.
B. Hilar nodes: 0/5.
GROSS DESCRIPTION: A kidney of 300 g.
"""
SIGNED = SignOff("Li^Si=李^四", "Pathology, First Hospital", datetime(2026, 1, 3, 8, 0, tzinfo=UTC))
CASE = ReportCase(
    report_id="S26-1",
    structured=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    accession_number="A-77",
    placer_order_number="PL-1",
    patient_id="P-1",
    issuer_of_patient_id="HOSP",
    patient_name="Wang^XiaoDong=王^小东",
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    reported=datetime(2026, 1, 1, 10, 0, tzinfo=UTC),
)


def place(words: str) -> tuple[Evidence, ...]:
    start = TEXT.index(words)
    return (Evidence(start, start + len(words)),)


VALUES = (
    FieldValue("laterality", "left", evidence=place("Left"), rule="choice/1", part="A"),
    FieldValue(
        "lymphovascular_invasion",
        "absent",
        assertion=Assertion.ABSENT,
        evidence=place("LVI: not identified"),
        rule="finding/1",
    ),
    FieldValue("made_up_size", 4.5, unit="cm", evidence=place("4.5 cm"), rule="measure/1"),
    FieldValue("made_up_type", "clear cell", evidence=place("Clear cell"), code=Coding("urn:none", "1", "x")),
    FieldValue("made_up_stage", "t1b", Status.CONFLICT, evidence=place("pT1b")),
    FieldValue(
        "made_up_nodes", 5, evidence=place("0/5"), part="B", qualifiers={"station": "hilar 肾门", "sentinel": False}
    ),
    FieldValue("made_up_n", "n0", Status.DERIVED, evidence=place("0/5"), rule="pn_from_counts/ajcc8"),
)
REPORT = StructuredReport(TEXT, Quality(1.0, "en", True), ("kidney",), VALUES, "1")


def pdf(text: str | None) -> bytes:
    """Return a PDF of one page, with ``text`` (ASCII) or, as a scan, without any."""
    content = b"q Q" if text is None else b"BT /F1 12 Tf 72 720 Td (" + text.encode() + b") Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    return out + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


def rtf(text: str, code_page: int = 936) -> bytes:
    """Return an RTF document of Chinese or Western text, each byte beyond ASCII as ``\\'xx``."""
    body = "".join(chr(byte) if byte < 128 else f"\\'{byte:02x}" for byte in text.encode(f"cp{code_page}"))
    return (f"{{\\rtf1\\ansi\\ansicpg{code_page} " + body.replace("\n", "\\par ") + "}").encode("ascii")

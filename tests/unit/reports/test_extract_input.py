"""``dicomsvc reports extract``: every line and file is answered, and no text stands in a reason."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicomsvc.cli import report_input
from dicomsvc.cli.reports import reports

TEXT = "FINAL DIAGNOSIS: Breast, left: invasive ductal carcinoma, 2.3 cm. ER positive, PR negative. Margins negative."
SECRET = "Zebulon"


def extract(*arguments: object, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(reports, ["extract", *map(str, arguments)], input=stdin)


def lines(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


BROKEN = {
    b"%s is no JSON" % SECRET.encode(): "the line is not JSON",
    b'{"id": "x", "text": "%s' % SECRET.encode(): "the line is not JSON",
    b'{"text": "%s"}' % SECRET.encode(): 'the line has no "id"',
    b'{"id": "x", "text": 5}': 'the line has no "text"',
    b'["%s"]' % SECRET.encode(): "the line is not a JSON object",
    b"\xff\xfe%s" % SECRET.encode(): "the line is not UTF-8",
    b"[" * 100_000: "the line is not JSON",
}


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_is_answered_with_its_number_and_the_others_are_read(line: bytes) -> None:
    good = json.dumps({"id": "good", "text": TEXT}).encode()
    done = extract("-", stdin=b"\xef\xbb\xbf" + good + b"\n\n" + line + b"\n" + good)
    first, broken, last = lines(done)
    assert done.exit_code == 1
    assert first == last
    assert first["quality"]["structured"] is True  # type: ignore[index]
    assert broken["line"] == 3
    assert broken["values"] == []
    assert broken["quality"] == {"score": 0.0, "language": "und", "structured": False, "reason": BROKEN[line]}
    assert SECRET not in done.output


def test_a_line_past_the_bound_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_input, "LONGEST_LINE", 1_000)
    good = json.dumps({"id": "good", "text": TEXT}).encode()
    done = extract("-", stdin=json.dumps({"id": 1, "text": "x" * 5_000_000}).encode() + b"\n" + good)
    long, read = lines(done)
    assert "longer than" in str(long["quality"])
    assert read["id"] == "good"


def test_half_a_surrogate_pair_comes_back_as_valid_json() -> None:
    done = extract(
        "-", stdin=b'{"id": "\\ud800", "text": "Breast: invasive carcinoma. ER posit\\ud800ive, PR negative."}'
    )
    (line,) = lines(done)
    assert done.exit_code == 0
    assert line["id"] == "\ud800"


def test_files_of_every_charset_and_an_empty_one_are_answered(tmp_path: Path) -> None:
    chinese = "病理诊断：（左肾）透明细胞型肾细胞癌，大小4.5×3.2×3.0cm，切缘阴性。"
    for charset in ("utf-8", "utf-8-sig", "gb18030", "utf-16"):
        (tmp_path / f"{charset}.txt").write_text(chinese, encoding=charset)
    (tmp_path / "empty.txt").write_bytes(b"")
    done = extract(tmp_path)
    answers = {line["id"]: line for line in lines(done)}
    empty = answers.pop("empty")
    assert empty["quality"]["reason"] == "hardly any letters"  # type: ignore[index]
    assert len({json.dumps(line["values"]) for line in answers.values()}) == 1
    assert {value["field"] for value in answers["gb18030"]["values"]} >= {"laterality", "tumor_size_mm"}  # type: ignore[attr-defined]


def test_a_missing_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(TEXT, encoding="utf-8")
    done = extract(tmp_path / "missing.txt", tmp_path / "good.txt")
    missing, good = lines(done)
    assert done.exit_code == 1
    assert "cannot be read" in str(missing["quality"])
    assert good["values"]


def test_json_is_one_array_and_a_field_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    done = extract(tmp_path / "a.txt", tmp_path / "a.txt", "--json", "--field", "er")
    documents = json.loads(done.stdout)
    assert [[value["field"] for value in document["values"]] for document in documents] == [["er"], ["er"]]
    assert extract(tmp_path / "a.txt", "--field", "no_such_field").exit_code == 2


def test_a_failure_while_reading_is_told_without_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("dicomsvc.reports.pipeline.structure", failing)
    done = extract("-", stdin=json.dumps({"id": 1, "text": TEXT}).encode())
    assert done.exit_code == 1
    assert "reading failed: RuntimeError" in done.output
    assert SECRET not in done.output

"""``dicomsvc reports extract`` on documents that reports come as."""

import json
from pathlib import Path

from typer.testing import CliRunner

from dicomsvc.cli.reports import reports
from tests.unit.reports.exchange_case import pdf, rtf


def extracted(*files: Path, status: int = 0) -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(reports, ["extract", *map(str, files)])
    # Status 1 tells of the files that could not be read.
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_folder_of_documents_is_answered_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("FINAL DIAGNOSIS: Left kidney, nephrectomy: clear cell renal cell carcinoma."))
    (tmp_path / "b.RTF").write_bytes(
        rtf("病理诊断：（左肾）透明细胞型肾细胞癌，WHO/ISUP 2级，大小4.5×3.2×3.0cm，切缘阴性。")
    )
    (tmp_path / "c.pdf").write_bytes(pdf(None))
    (tmp_path / "d.json").write_bytes(b"{}")
    (tmp_path / "notes.md").write_text("no report", encoding="utf-8")
    lines = extracted(tmp_path, status=1)
    assert {name: line["quality"]["structured"] for name, line in lines.items()} == {  # type: ignore[index]
        "a": True,
        "b": True,
        "c": False,
        "d": False,
    }
    assert "no text layer" in lines["c"]["quality"]["reason"]  # type: ignore[index]
    sides = {name: [v["value"] for v in lines[name]["values"] if v["field"] == "laterality"] for name in "ab"}  # type: ignore[attr-defined]
    assert sides == {"a": ["left"], "b": ["left"]}

"""Commands that need no running service."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dicomsvc.cli import app
from tests.instances import write_instances


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("convert",), ("serve", "--role", "cook"), ("echo", "no:port"), ("verify", "--what")]
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_wrong_usage_of_the_program_is_status_2() -> None:
    assert run("nonsense").returncode == 2


def every_command(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    commands = getattr(command, "commands", None)
    if commands is None:
        yield path
        return
    for name, each in commands.items():
        yield from every_command(each, *path, name)


@pytest.mark.parametrize("path", every_command(get_command(app)), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=120)
    assert shown.exit_code == 0
    assert f"Usage: dicomsvc {' '.join(path)}" in shown.output
    said = shown.output.split("Usage:")[1].splitlines()[1:]
    assert any(line.strip() and line.strip()[0].isupper() for line in said)


def test_the_program_lists_its_commands() -> None:
    text = run("--help").stdout
    assert all(path[0] in text for path in every_command(get_command(app)))


def test_all_commands_but_those_that_write_documents_answer_programs_too() -> None:
    silent = {
        path
        for path in every_command(get_command(app))
        if "--json" not in CliRunner().invoke(app, [*path, "--help"], terminal_width=120).output
    }
    assert silent == {("audit", "export"), ("reports", "export")}


def test_config_tells_values_and_where_they_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "dicomsvc.toml"
    file.write_text('[http]\nsearch_limit = 7\n[auth.tokens]\nana = "0123"\n')
    monkeypatch.setenv("DICOMSVC_CONFIG", str(file))
    monkeypatch.setenv("DICOMSVC_DIMSE__AE_TITLE", "ELSEWHERE")
    ended = run("config", "--json")
    rows = {row["setting"]: row for row in json.loads(ended.stdout)}
    assert rows["http.search_limit"]["value"] == "7"
    assert rows["http.search_limit"]["from"] == str(file)
    assert "DICOMSVC_DIMSE__AE_TITLE" in rows["dimse.ae_title"]["from"]
    assert rows["dimse.max_pdu"]["from"] == "default"
    assert all(row["meaning"] for row in rows.values())
    assert "0123" not in ended.stdout


def test_a_token_is_shown_once_and_its_digest_is_for_the_settings() -> None:
    import hashlib

    made = json.loads(run("token", "ana", "--json").stdout)
    assert hashlib.sha256(made["token"].encode()).hexdigest() == made["sha256"]


def test_an_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    stranger = tmp_path / "x.svs"
    stranger.write_bytes(b"no slide")
    ended = run("convert", str(stranger), "--out", str(tmp_path / "o"))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "dicomsvc: " in ended.stderr
    assert not list((tmp_path / "o").glob("*"))


def test_doctor_finds_this_machine_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMSVC_HTTP__BIND", "127.0.0.1:0")
    monkeypatch.setenv("DICOMSVC_DIMSE__BIND", "127.0.0.1:0")
    ended = run("doctor", "--data", str(folder / "data"), "--json")
    findings = json.loads(ended.stdout)
    assert {finding["check"] for finding in findings} >= {"database", "disk", "codecs", "OpenSlide"}
    assert ended.returncode == 0, [finding for finding in findings if not finding["ok"]]


def test_import_without_a_service_does_its_own_work(folder: Path) -> None:
    written = write_instances(folder / "in", 5)
    data = str(folder / "data")
    ended = run("import", str(folder / "in"), "--data", data, "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(run("verify", "--data", data, "--json").stdout)["checked"] == len(written)
    assert json.loads(run("reindex", "--rebuild", "--data", data, "--json").stdout)["added"] == len(written)
    assert json.loads(run("jobs", "list", "--data", data, "--json").stdout)[0]["state"] == "COMPLETED"
    stored = next((folder / "data" / "instances").rglob("*.dcm"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    ended = run("verify", "--data", data, "--json")
    assert ended.returncode == 1
    assert len(json.loads(ended.stdout)["damaged"]) == 1

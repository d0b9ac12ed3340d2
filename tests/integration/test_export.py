"""Studies leave the store as files, as they are or without identity."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicomsvc.config import Settings
from dicomsvc.store import Source, Store
from tests.instances import part10, wsi_dataset

SECRET = "a secret of this test, 32 characters and more"


def run(settings: Settings, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    assert settings.database.url is not None
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(settings.data), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "DICOMSVC_DATABASE__URL": settings.database.url.get_secret_value(), **more},
    )


@pytest.fixture
def study(store: Store) -> tuple[str, str, dict[str, bytes]]:
    """A study of two volumes and a label image."""
    study, series = generate_uid(), generate_uid()
    stored = {}
    for number, flavour in enumerate(("VOLUME", "VOLUME", "LABEL")):
        ds = wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=number, patient_name="Pat^Marker")
        ds.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
        ds.BurnedInAnnotation = "YES" if flavour == "LABEL" else "NO"
        content = part10(ds)
        with store.spool() as spooled:
            spooled.write(content)
            store.add(spooled, Source("test", "test"))
        stored[str(ds.SOPInstanceUID)] = content
    return study, series, stored


def test_a_study_is_exported_byte_for_byte(
    settings: Settings, study: tuple[str, str, dict[str, bytes]], tmp_path: Path
) -> None:
    uid, series, stored = study
    done = run(settings, "export", uid, series, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    files = {path.stem: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    assert files == stored
    again = run(settings, "export", uid, "--out", str(tmp_path / "out"))
    assert again.returncode == 1 and "not empty" in again.stderr


def test_a_study_is_exported_without_identity_and_label(
    settings: Settings, study: tuple[str, str, dict[str, bytes]], tmp_path: Path
) -> None:
    uid, _, stored = study
    done = run(settings, "export", uid, "--out", str(tmp_path / "a"), "--deidentify", "basic")
    assert done.returncode == 0, done.stderr
    assert [each["reason"] for each in json.loads(done.stdout)["left_out"]] == ["a label image"]
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert (manifest["profile"], manifest["left_out"], len(manifest["files"])) == ("basic", 1, 2)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    names = "".join(str(path) for path in (tmp_path / "a").rglob("*"))
    for secret in ("Marker", uid, *stored):
        assert secret.encode() not in everything and secret not in names
    for entry in manifest["files"]:
        content = (tmp_path / "a" / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest() and entry["size"] == len(content)
        assert str(dcmread(tmp_path / "a" / entry["file"]).SOPInstanceUID) == entry["sop_instance_uid"]

    secret_file = settings.data / "deidentify.secret"
    assert secret_file.stat().st_mode & 0o777 == 0o600
    again = run(settings, "export", uid, "--out", str(tmp_path / "b"), "--deidentify", "basic")
    other = run(
        settings,
        *("export", uid, "--out", str(tmp_path / "c"), "--deidentify", "basic"),
        DICOMSVC_DEIDENTIFY__SECRET=SECRET,
    )
    assert again.returncode == other.returncode == 0, other.stderr
    assert (tmp_path / "b" / "manifest.json").read_bytes() == (tmp_path / "a" / "manifest.json").read_bytes()
    elsewhere = {
        entry["sop_instance_uid"] for entry in json.loads((tmp_path / "c" / "manifest.json").read_text())["files"]
    }
    assert not elsewhere & {entry["sop_instance_uid"] for entry in manifest["files"]}


def test_a_damaged_file_does_not_go_out(
    store: Store, settings: Settings, study: tuple[str, str, dict[str, bytes]], tmp_path: Path
) -> None:
    record = store.instances.find(study[0])[0]
    content = bytearray(record.path.read_bytes())
    content[-40] ^= 1
    record.path.chmod(0o600)
    record.path.write_bytes(content)
    for number, options in enumerate(((), ("--deidentify", "basic"))):
        done = run(settings, "export", study[0], "--out", str(tmp_path / str(number)), *options)
        assert done.returncode == 1
        assert [each["source"] for each in json.loads(done.stdout)["failed"]] == [record.sop_instance_uid]
        assert not list((tmp_path / str(number)).rglob(f"{record.sop_instance_uid}.dcm"))


def test_plain_files_are_deidentified(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.dcm").write_bytes(part10(wsi_dataset(patient_name="Pat^Marker")))
    (tmp_path / "in" / "bad.dcm").write_bytes(b"Pat^Marker" * 100)
    done = run(settings, "deidentify", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--profile", "basic")
    assert done.returncode == 1 and "Marker" not in done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == 1 and [Path(each["source"]).name for each in document["failed"]] == ["bad.dcm"]
    [path] = (tmp_path / "out").rglob("*.dcm")
    assert b"Marker" not in path.read_bytes()


def test_who_holds_the_secret_can_tell_the_pseudonyms(settings: Settings, tmp_path: Path) -> None:
    ds = wsi_dataset(patient_id="P-7")
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    out = tmp_path / "out"
    assert run(settings, "deidentify", str(tmp_path / "a.dcm"), "--out", str(out)).returncode == 0
    asked = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "pseudonyms", "--data", str(settings.data)],
        input=f"P-7\n{ds.SOPInstanceUID}\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    [path] = out.rglob("*.dcm")
    clean = dcmread(path)
    assert asked.stdout == f"P-7,{clean.PatientID}\n{ds.SOPInstanceUID},{clean.SOPInstanceUID}\n"


def test_an_unknown_profile_is_an_error(settings: Settings, tmp_path: Path) -> None:
    done = run(settings, "deidentify", str(tmp_path), "--out", str(tmp_path / "out"), "--profile", "research")
    assert done.returncode == 1 and "[deidentify.profiles.research]" in done.stderr
    assert not (tmp_path / "out").exists()

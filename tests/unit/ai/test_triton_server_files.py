"""What the model server leaves on disk for others, and what it needs to be there."""

import os
import stat
import sys
from pathlib import Path

import pytest

from dicomsvc.ai.inference.endpoint import (
    Endpoint,
    endpoint_file,
    find_endpoint,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)
from dicomsvc.ai.triton import runtime as runtime_module
from dicomsvc.ai.triton.lock import find_keeper, keep_alone
from dicomsvc.ai.triton.runtime import Runtime, check_numpy, description, find_runtime
from dicomsvc.config import TritonSettings
from dicomsvc.errors import ConfigurationError, ServerUnavailable


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "triton").mkdir()
    return tmp_path


def own_endpoint() -> Endpoint:
    return Endpoint("unix:/run/any", "secret", pid=1, host=os.uname().nodename)


def test_the_address_is_for_this_user_alone(data: Path) -> None:
    write_endpoint(data, own_endpoint())
    assert stat.S_IMODE(endpoint_file(data).stat().st_mode) == 0o600
    assert find_endpoint(TritonSettings(), data) == own_endpoint()
    assert own_endpoint().headers == {"triton-grpc-protocol-x-dicomsvc-secret": "secret"}
    assert "secret" not in repr(own_endpoint())


def test_a_server_that_has_gone_is_not_found(data: Path) -> None:
    write_endpoint(data, own_endpoint())
    remove_endpoint(data)
    remove_endpoint(data)
    with pytest.raises(ServerUnavailable, match="dicomsvc serve"):
        find_endpoint(TritonSettings(), data)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"address": "a", "other": 1}', b"\xff"])
def test_an_address_that_cannot_be_read_is_none(data: Path, content: bytes) -> None:
    endpoint_file(data).write_bytes(content)
    assert read_endpoint(data) is None


def test_a_server_of_another_machine_is_not_called(data: Path) -> None:
    write_endpoint(data, Endpoint("unix:/run/any", host="elsewhere"))
    with pytest.raises(ServerUnavailable, match=r"elsewhere.*triton.url"):
        find_endpoint(TritonSettings(), data)


def test_a_configured_server_goes_before_an_own_one(data: Path) -> None:
    write_endpoint(data, own_endpoint())
    assert find_endpoint(TritonSettings(url="gpu:8001", tls=True), data) == Endpoint("gpu:8001", tls=True)


def test_one_process_at_a_time_keeps_the_server(data: Path) -> None:
    assert find_keeper(data) is None
    with keep_alone(data, "one") as mine, keep_alone(data, "other") as others:
        assert (mine, others) == (True, False)
        keeper = find_keeper(data)
        assert keeper is not None
        assert (keeper.pid, keeper.kept_by) == (os.getpid(), "one")
    assert find_keeper(data) is None


def test_without_a_runtime_it_is_said_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module, "platform_problem", lambda: "")
    with pytest.raises(ConfigurationError, match=r"dicomsvc triton install.*triton.url.*triton.in_process"):
        find_runtime(TritonSettings(runtime=tmp_path / "none"))


def test_a_runtime_of_other_packages_is_not_used(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    for program in (runtime.server, runtime.stub):
        program.parent.mkdir(parents=True)
        program.touch()
    runtime.marker.write_text('{"numpy": "2.0.0"}')
    assert not runtime.is_current()
    runtime.marker.write_text(str(description()).replace("'", '"'))
    assert runtime.is_current()


def test_numpy_2_is_refused(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path)
    for version, fits in (("1.26.4", True), ("2.1.0", False)):
        metadata = runtime.packages / "numpy-1.dist-info"
        metadata.mkdir(parents=True, exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\n")
        if fits:
            check_numpy(runtime)
        else:
            with pytest.raises(ConfigurationError, match="numpy 1"):
                check_numpy(runtime)


def test_a_machine_that_cannot_run_it_is_told_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigurationError, match=r"Linux.*triton.url.*triton.in_process"):
        find_runtime(TritonSettings())


def test_an_old_glibc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(runtime_module.os, "confstr", lambda name: "glibc 2.31")
    assert "glibc 2.35" in runtime_module.platform_problem()

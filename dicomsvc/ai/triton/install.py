"""Makes the own server's runtime environment: built aside, checked, then put in place at once."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomsvc.ai.triton.runtime import PACKAGES, Runtime, check_numpy, check_platform, description
from dicomsvc.errors import ConfigurationError

_STEPS = 5
_SECONDS = 1800


def install_runtime(folder: Path, report: Callable[[int, int, str], None]) -> bool:
    """Install the runtime environment, and return whether there was anything to do.

    Raises
    ------
    ConfigurationError
        When this machine cannot run Triton, or a package cannot be had.
    """
    check_platform()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if Runtime(folder).is_current():
            report(_STEPS, _STEPS, "is there")
            return False
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
            made = Runtime(Path(name) / "runtime")
            _build(made, report)
            if folder.exists():
                folder.rename(Path(name) / "old")
            made.folder.rename(folder)
        report(_STEPS, _STEPS, "done")
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(runtime: Runtime, report: Callable[[int, int, str], None]) -> None:
    python = str(runtime.folder / "bin" / "python")
    report(0, _STEPS, "makes an environment")
    _run("an environment of its own cannot be made (Debian: `apt-get install python3-venv`)", *_venv(runtime.folder))
    *libraries, server = (f"{name}=={version}" for name, version in PACKAGES.items())
    pip = (python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-warn-script-location")
    report(1, _STEPS, "installs numpy and ONNX Runtime")
    _run("numpy and ONNX Runtime cannot be installed", *pip, "--only-binary", ":all:", *libraries)
    report(2, _STEPS, "installs Triton")
    # As data: its own Python code and what that needs is not used.
    _run("Triton cannot be installed", *pip, "--only-binary", ":all:", "--no-deps", server)
    report(3, _STEPS, "puts the backend together")
    _lay_out_backend(runtime)
    report(4, _STEPS, "checks it")
    check_numpy(runtime)
    _run("ONNX Runtime does not run", python, "-I", "-c", "import numpy, onnxruntime")
    environment = {**os.environ, "LD_LIBRARY_PATH": runtime.library_path()}
    # Asked for help, the server prints it and answers with status 1.
    asked = subprocess.run(  # noqa: S603 - the program just installed
        [runtime.server, "--help"], capture_output=True, env=environment, timeout=60, check=False
    )
    if b"--model-repository" not in asked.stdout + asked.stderr:
        raise ConfigurationError(f"Triton does not run here: {_last_line(asked.stderr)}")
    runtime.marker.write_text(json.dumps(description(), indent=2) + "\n", encoding="utf-8")


def _venv(folder: Path) -> tuple[str, ...]:
    return (getattr(sys, "_base_executable", sys.executable), "-I", "-m", "venv", str(folder))


def _lay_out_backend(runtime: Runtime) -> None:
    source = runtime.packages / "pytriton" / "tritonserver"
    folder = runtime.stub.parent
    folder.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copyfile(source / "backends" / "python" / name, folder / name)
    stub = source / "python_backend_stubs" / f"3.{sys.version_info.minor}" / runtime.stub.name
    shutil.copyfile(stub, runtime.stub)
    for program in (runtime.stub, runtime.server):
        program.chmod(0o755)


def _run(problem: str, *command: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603 - fixed
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{problem}: {type(error).__name__}") from error
    if ended.returncode:
        raise ConfigurationError(f"{problem}: {_last_line(ended.stderr or ended.stdout)}")


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1].strip()[:500]

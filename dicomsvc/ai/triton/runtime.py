"""The own server's runtime environment: Triton's programs, and a Python with numpy and ONNX Runtime for its models.

It is apart from our own environment, since Triton's Python process gives empty answers with numpy 2.
"""

import importlib.metadata
import json
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomsvc.config import TritonSettings
from dicomsvc.errors import ConfigurationError

PACKAGES: Final = {"numpy": "1.26.4", "onnxruntime": "1.31.1", "nvidia-pytriton": "0.7.0"}
PYTHON_MINORS: Final = (11, 12)
"""Those that both Triton's stub and numpy 1.26 are built for."""
_GLIBC: Final = (2, 35)
_ALTERNATIVE = "set triton.url to a server of yours, or triton.in_process to run models in the worker"


@dataclass(frozen=True, slots=True)
class Runtime:
    """An installed runtime environment."""

    folder: Path

    @property
    def packages(self) -> Path:
        return self.folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

    @property
    def server(self) -> Path:
        """The program ``tritonserver``."""
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """Folder for ``--backend-directory``."""
        return self.folder / "backends"

    @property
    def stub(self) -> Path:
        """The program that runs a model's Python code."""
        return self.backends / "python" / "triton_python_backend_stub"

    @property
    def marker(self) -> Path:
        """A file that says what was installed, written last."""
        return self.folder / "dicomsvc-runtime.json"

    def library_path(self) -> str:
        """Return ``LD_LIBRARY_PATH`` for server and stub."""
        python = find_python_library()
        folders = [self.packages / "nvidia_pytriton.libs", *([python.parent] if python else [])]
        return os.pathsep.join(str(folder) for folder in folders)

    def is_current(self) -> bool:
        """Whether it is whole and what this version of dicomsvc wants."""
        try:
            found = json.loads(self.marker.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == description()) and self.server.exists() and self.stub.exists()


def description() -> dict[str, str]:
    """Return what a current runtime's marker says."""
    return {**PACKAGES, "python": f"3.{sys.version_info.minor}", "base": sys.base_prefix}


def runtime_folder(settings: TritonSettings) -> Path:
    """Return where the runtime environment is, or will be."""
    return (settings.runtime or Path(sys.prefix) / "triton").absolute()


def platform_problem() -> str:
    """Return why the own server cannot run on this machine, or nothing."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"Triton's programs are for Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    library, _, release = (os.confstr("CS_GNU_LIBC_VERSION") or "none 0").partition(" ")
    if library != "glibc" or tuple(int(part) for part in release.split(".")[:2]) < _GLIBC:
        return f"Triton's programs need glibc 2.35 or newer, this machine has {library} {release}"
    if sys.version_info.minor not in PYTHON_MINORS:
        return f"Triton's Python process is there for Python 3.11 and 3.12, this is 3.{sys.version_info.minor}"
    if find_python_library() is None:
        return (
            f"Triton's Python process needs {_library_name()}; install it "
            f"(Debian: `apt-get install libpython3.{sys.version_info.minor}`) and run `dicomsvc triton install` again"
        )
    return ""


def check_platform() -> None:
    """Raise `ConfigurationError` where the own server cannot run; the message says what else to do."""
    problem = platform_problem()
    if problem:
        raise ConfigurationError(f"{problem}; or {_ALTERNATIVE}")


def find_runtime(settings: TritonSettings) -> Runtime:
    """Return the installed runtime environment.

    Raises
    ------
    ConfigurationError
        When there is none, or it cannot work; the message says what to run.
    """
    runtime = Runtime(runtime_folder(settings))
    check_platform()
    if not runtime.is_current():
        old = "is of another version or incomplete" if runtime.folder.exists() else "is not there"
        raise ConfigurationError(
            f"the model server's runtime in {runtime.folder} {old}: run `dicomsvc triton install`; or {_ALTERNATIVE}"
        )
    check_numpy(runtime)
    return runtime


def check_numpy(runtime: Runtime) -> None:
    """Raise `ConfigurationError` when the runtime's numpy is one that makes Triton's answers empty."""
    for found in importlib.metadata.distributions(path=[str(runtime.packages)]):
        if found.metadata["Name"] == "numpy" and int(found.version.partition(".")[0]) < 2:
            return
    raise ConfigurationError(
        f"the model server's runtime in {runtime.folder} does not have numpy 1, and answers would be empty: "
        "remove the folder and run `dicomsvc triton install`"
    )


def find_python_library() -> Path | None:
    """Return this Python's shared library."""
    name = _library_name()
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    folders = (
        sysconfig.get_config_var("LIBDIR") or "/usr/lib",
        f"{sys.base_prefix}/lib",
        f"/usr/lib/{multiarch}",
        "/usr/lib64",
        "/usr/local/lib",
    )
    return next((Path(folder, name) for folder in folders if Path(folder, name).exists()), None)


def _library_name() -> str:
    return f"libpython3.{sys.version_info.minor}.so.1.0"

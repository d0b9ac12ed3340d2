"""``dicomsvc doctor``: is this machine fit to run the service, and if not, what is to be done."""

import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass

import typer

from dicomsvc.cli.context import DataOption, settings_for, with_migrated_database
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import Settings, split_address
from dicomsvc.errors import DicomsvcError
from dicomsvc.store.spool import free_bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``advice`` says what to do when it is not ``ok``."""

    check: str
    ok: bool
    found: str
    advice: str = ""


def doctor(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Check database, disk, codecs, ports and optional formats, and say what to do about what is wrong."""
    settings = settings_for(data)
    checks: tuple[Callable[[Settings], Finding], ...] = (
        check_database,
        check_disk,
        check_codecs,
        check_jpeg_turbo,
        check_openslide,
        check_model_server,
        check_http_port,
        check_dimse_port,
    )
    findings = [check(settings) for check in checks]
    lines = [
        f"{'ok  ' if finding.ok else 'FAIL'} {finding.check}: {finding.found}"
        + (f"\n     -> {finding.advice}" if not finding.ok else "")
        for finding in findings
    ]
    emit([asdict(finding) for finding in findings], "\n".join(lines), as_json=as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def check_database(settings: Settings) -> Finding:
    kind = "embedded" if settings.database.url is None else "configured"
    try:
        with with_migrated_database(settings):
            return Finding("database", ok=True, found=f"{kind} PostgreSQL answers, the schema is current")
    except DicomsvcError as error:
        return Finding("database", ok=False, found=error.message, advice="check database.url and that server's log")


def check_disk(settings: Settings) -> Finding:
    free_gb = free_bytes(settings.data) / (1 << 30)
    reserve_gb = settings.store.disk_reserve_mb / 1024
    return Finding(
        "disk",
        ok=free_gb > 2 * reserve_gb,
        found=f"{free_gb:.0f} GB free for {settings.data.absolute()}, {reserve_gb:.0f} GB are kept in reserve",
        advice="free space, or put the data folder (--data) on a larger disk",
    )


def check_codecs(settings: Settings) -> Finding:
    import imagecodecs
    import numpy as np

    tile = (np.arange(64 * 64 * 3) % 251).astype(np.uint8).reshape(64, 64, 3)
    broken = []
    for name in ("jpeg8", "jpeg2k", "jpegls", "png"):
        try:
            encoded = getattr(imagecodecs, f"{name}_encode")(tile)
            if getattr(imagecodecs, f"{name}_decode")(encoded).shape != tile.shape:
                broken.append(name)
        except (AttributeError, RuntimeError, ImportError):
            broken.append(name)
    return Finding(
        "codecs",
        ok=not broken,
        found=f"not working: {', '.join(broken)}" if broken else "JPEG, JPEG 2000, JPEG-LS and PNG work",
        advice="reinstall imagecodecs (`pip install --force-reinstall imagecodecs`)",
    )


def check_jpeg_turbo(settings: Settings) -> Finding:
    from turbojpeg import TurboJPEG

    try:
        TurboJPEG()
    except (RuntimeError, OSError):
        return Finding(
            "libturbojpeg",
            ok=False,
            found="not found; Hamamatsu and Philips slides cannot be read",
            advice="install it: `apt-get install libturbojpeg0`",
        )
    return Finding("libturbojpeg", ok=True, found="found")


def check_openslide(settings: Settings) -> Finding:
    try:
        import openslide
    except (ImportError, OSError):
        return Finding("OpenSlide", ok=False, found="not found", advice="`pip install openslide-python openslide-bin`")
    return Finding("OpenSlide", ok=True, found=f"version {openslide.__library_version__}")


def check_model_server(settings: Settings) -> Finding:
    from dicomsvc.ai.triton.runtime import find_runtime

    if settings.triton.in_process:
        return Finding("model server", ok=True, found="none: models run in the worker (triton.in_process)")
    if settings.triton.url is not None:
        return _configured_model_server(settings)
    try:
        runtime = find_runtime(settings.triton)
    except DicomsvcError as error:
        problem, _, advice = error.message.partition(": ")
        return Finding("model server", ok=False, found=problem, advice=advice or "set triton.url")
    return Finding("model server", ok=True, found=f"its runtime is installed in {runtime.folder}")


def _configured_model_server(settings: Settings) -> Finding:
    from dicomsvc.ai.inference.endpoint import find_endpoint
    from dicomsvc.ai.triton.control import Control

    control = Control(find_endpoint(settings.triton, settings.data))
    try:
        return Finding("model server", ok=True, found=f"Triton {control.version()} at {settings.triton.url}")
    except DicomsvcError as error:
        return Finding("model server", ok=False, found=error.message, advice="check triton.url and that server")
    finally:
        control.close()


def check_http_port(settings: Settings) -> Finding:
    return _port("web port", settings.http.bind, "--http")


def check_dimse_port(settings: Settings) -> Finding:
    return _port("DICOM port", settings.dimse.bind, "--dimse")


def _port(check: str, bind: str, option: str) -> Finding:
    host, port = split_address(bind)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = f"if it is not a running dicomsvc, end the other program or choose another address with {option}"
            return Finding(check, ok=False, found=f"{bind}: {error.strerror}", advice=advice)
    return Finding(check, ok=True, found=f"{bind} is free")

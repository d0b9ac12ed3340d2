"""``dicomsvc doctor``: is this machine fit to run the service, and if not, what is to be done."""

import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass

import typer

from dicomsvc.cli.context import DataOption, settings_for, with_migrated_database
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import Settings, TlsSettings, is_loopback, split_address
from dicomsvc.errors import DicomsvcError
from dicomsvc.store.spool import free_bytes
from dicomsvc.tls import OwnCertificate, is_readable_by_others, own_certificates, server_context

_RENEW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``advice`` says what to do when it is not ``ok``, or only a ``warning``."""

    check: str
    ok: bool
    found: str
    advice: str = ""
    warning: bool = False

    @property
    def mark(self) -> str:
        return "warn" if self.warning else "ok  " if self.ok else "FAIL"


def doctor(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Check database, disk, codecs, ports, certificates and optional formats; say what to do about what is wrong."""
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
        check_dimse_tls_port,
        check_certificates,
        check_callers,
    )
    findings = [check(settings) for check in checks]
    lines = [
        f"{finding.mark} {finding.check}: {finding.found}"
        + (f"\n     -> {finding.advice}" if finding.warning or not finding.ok else "")
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


def check_dimse_tls_port(settings: Settings) -> Finding:
    bind = settings.dimse.tls.bind
    if bind is None:
        return Finding("DICOM port with TLS", ok=True, found="none (dimse.tls.bind)")
    return _port("DICOM port with TLS", bind, "--dimse-tls")


def check_certificates(settings: Settings) -> Finding:
    sections = {"http.tls": settings.http.tls, "dimse.tls": settings.dimse.tls, "hl7.tls": settings.hl7.tls}
    used = {name: section for name, section in sections.items() if section.certificate is not None}
    if not used:
        return Finding("certificates", ok=True, found="none are configured")
    try:
        own = [certificate for name, section in used.items() for certificate in _checked_certificates(name, section)]
    except DicomsvcError as error:
        return Finding("certificates", ok=False, found=error.message, advice="mend that file, or the setting")
    open_keys = sorted({str(s.key) for s in used.values() if s.key is not None and is_readable_by_others(s.key)})
    soonest = min(own, key=lambda certificate: certificate.not_after)
    end = f"{soonest.path} ({soonest.subject}) ends on {soonest.not_after:%Y-%m-%d}"
    if soonest.days_left < 0:
        return Finding("certificates", ok=False, found=f"{end}: it has expired", advice="put a new one in its place")
    if soonest.days_left < _RENEW_DAYS:
        advice = "put a new one in its place; the service takes it by itself"
        return Finding("certificates", ok=True, warning=True, found=f"{end}: soon", advice=advice)
    if open_keys:
        found = f"every user of this machine can read {', '.join(open_keys)}"
        return Finding("certificates", ok=True, warning=True, found=found, advice=f"`chmod 640 {' '.join(open_keys)}`")
    return Finding("certificates", ok=True, found=f"{', '.join(used)}; the first to end: {end}")


def _checked_certificates(section: str, settings: TlsSettings) -> list[OwnCertificate]:
    server_context(settings, section)
    assert settings.certificate is not None
    return own_certificates(settings.certificate, f"{section}.certificate")


def check_callers(settings: Settings) -> Finding:
    dimse = settings.dimse
    in_the_open = [bind for bind in (dimse.bind, dimse.tls.bind) if bind is not None and not is_loopback(bind)]
    if not in_the_open:
        return Finding("DICOM callers", ok=True, found="only this machine reaches the DICOM service")
    problems: list[tuple[str, str]] = []
    if not is_loopback(dimse.bind):
        advice = "keep dimse.bind on 127.0.0.1 and let others in at dimse.tls.bind, or trust the network"
        problems.append((f"{dimse.bind} is reached by others without TLS", advice))
    if dimse.accept_unknown:
        problems.append(("any AE may associate (dimse.accept_unknown)", "name the callers as peers"))
    weak = [name for name, peer in settings.peers.items() if not peer.addresses and not peer.certificates]
    weak += list(dimse.calling_ae_titles)
    if weak:
        found = f"known by nothing but the AE title, which anybody can take: {', '.join(sorted(weak))}"
        problems.append((found, "give these peers addresses or certificates"))
    if not problems:
        return Finding("DICOM callers", ok=True, found="peers are known by their address or certificate")
    found, advice = ("; ".join(parts) for parts in zip(*problems, strict=True))
    return Finding("DICOM callers", ok=True, warning=True, found=found, advice=advice)


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

"""``dicomsvc serve`` and ``dicomsvc worker``: the service itself."""

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from dicomsvc.cli.context import DataOption, settings_for, with_migrated_database
from dicomsvc.cli.output import JsonFlag
from dicomsvc.cli.role import run_role
from dicomsvc.config import Settings
from dicomsvc.service.supervisor import Supervisor
from dicomsvc.store import Store


class Role(StrEnum):
    """What a process of the service does."""

    ALL = "all"
    WEB = "web"
    DIMSE = "dimse"
    WORKER = "worker"
    TRITON = "triton"
    HL7 = "hl7"


HttpOption = Annotated[
    str | None, typer.Option("--http", help="Address of the web service.", show_default="127.0.0.1:8080")
]
DimseOption = Annotated[
    str | None, typer.Option("--dimse", help="Address of the DICOM service.", show_default="127.0.0.1:11112")
]
DimseTlsOption = Annotated[
    str | None, typer.Option("--dimse-tls", help="Address of the DICOM service over TLS.", show_default="none")
]
MllpOption = Annotated[
    str | None, typer.Option("--mllp", help="Address for HL7 v2 reports and orders (MLLP).", show_default="none")
]
AetOption = Annotated[str | None, typer.Option("--ae", help="AE title of this node.", show_default="DICOMSVC")]


def serve(
    data: DataOption = None,
    http: HttpOption = None,
    dimse: DimseOption = None,
    dimse_tls: DimseTlsOption = None,
    ae: AetOption = None,
    mllp: MllpOption = None,
    role: Annotated[Role, typer.Option(help="Run only this role, in this process.")] = Role.ALL,
    as_json: JsonFlag = False,
) -> None:
    """Run the service: web (DICOMweb, API), DICOM (C-STORE), worker, model server; prints `ready` when all answer."""
    dicom = {"bind": dimse, "ae_title": ae, "tls": None if dimse_tls is None else {"bind": dimse_tls}}
    settings = settings_for(data, http={"bind": http}, dimse=dicom, hl7={"bind": mllp})
    with with_migrated_database(settings, keep_alive=True) as ready:
        with Store(ready) as store:
            store.sweep()
        if role is Role.ALL:
            Supervisor(ready, _roles(settings), lambda at: _announce(at, settings, as_json)).run()
        else:
            run_role(role.value, ready, lambda address: _announce({role.value: address}, settings, as_json))


def _roles(settings: Settings) -> tuple[str, ...]:
    triton = () if settings.triton.in_process else ("triton",)
    hl7 = () if settings.hl7.bind is None else ("hl7",)
    return ("web", "dimse", "worker", *triton, *hl7)


def worker(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Run one more worker, on this or another machine, for the database and store of the settings."""
    serve(data, role=Role.WORKER, as_json=as_json)


def _announce(addresses: dict[str, str], settings: Settings, as_json: bool) -> None:
    if as_json:
        secured = {} if settings.dimse.tls.bind is None else {"dimse_tls": settings.dimse.tls.bind}
        lines = [json.dumps({"ready": True, **addresses, **secured})]
    else:
        lines = [f"data    {settings.data.absolute()}"]
        if "web" in addresses:
            lines += [f"web     {addresses['web']}", f"        DICOMweb root {addresses['web']}/dicomweb"]
        if "dimse" in addresses:
            lines.append(f"dimse   {addresses['dimse']}")
            if settings.dimse.tls.bind is not None:
                lines.append(f"        with TLS {settings.dimse.tls.bind}")
        lines += [f"{name:7s} {addresses[name]}" for name in ("hl7", "worker", "triton") if name in addresses]
        lines.append("ready")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()

"""``dicomsvc config`` and ``dicomsvc token``."""

import os
import tomllib
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from pydantic import BaseModel, SecretStr

from dicomsvc.auth import hash_token, new_token
from dicomsvc.cli.context import settings_for
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.config import config_file


def config(as_json: JsonFlag = False) -> None:
    """Show every setting, what it means, its value in force and where that came from."""
    file = config_file()
    written = tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows = [
        {"setting": name, "value": _shown(value), "from": _origin(name, written), "meaning": meaning}
        for name, value, meaning in _flatten(settings_for())
    ]
    width = max(len(row["setting"]) for row in rows)
    text = "\n".join(
        f"{row['setting']:{width}}  {row['value']}  [{row['from']}]\n{'':{width}}  {row['meaning']}" for row in rows
    )
    emit(rows, text, as_json=as_json)


def token(
    name: Annotated[str, typer.Argument(help="User the token is for")],
    as_json: JsonFlag = False,
) -> None:
    """Make a bearer token for a user: it is shown once, its digest goes into dicomsvc.toml."""
    secret = new_token()
    digest = hash_token(secret)
    text = (
        f'token for {name}, shown only now: {secret}\n\nput into dicomsvc.toml:\n\n[auth.tokens]\n{name} = "{digest}"'
    )
    emit({"user": name, "token": secret, "sha256": digest}, text, as_json=as_json)


def _flatten(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, dict) and value and all(isinstance(row, BaseModel) for row in value.values()):
            for key, row in value.items():
                yield from _flatten(row, f"{prefix}{name}.{key}.")
        else:
            yield f"{prefix}{name}", value, (field.description or "").replace("\n", " ")


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_shown(each)}" for key, each in value.items()) or "(none)"
    if value is None:
        return "(unset)"
    if isinstance(value, frozenset):
        value = tuple(sorted(value))
    return ", ".join(map(str, value)) or "(none)" if isinstance(value, tuple) else str(value)


def _origin(name: str, written: dict[str, Any]) -> str:
    variable = "DICOMSVC_" + name.replace(".", "__").upper()
    if variable in {key.upper() for key in os.environ}:
        return f"environment {variable}"
    here: Any = written
    for part in name.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return str(config_file()) if here is not None else "default"

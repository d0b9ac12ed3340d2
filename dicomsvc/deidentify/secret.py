"""The site's secret, from which pseudonyms, UIDs and date offsets are derived."""

import os
import secrets
from pathlib import Path
from typing import Final

from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError
from dicomsvc.store.layout import sync_folder

FILE_NAME: Final = "deidentify.secret"
_LEAST_CHARACTERS: Final = 32


def site_secret(settings: Settings) -> bytes:
    """Return the secret of the settings, else of the data folder, where one is made at first use.

    Raises
    ------
    ConfigurationError
        When it is too short, cannot be read, or others can read it.
    """
    configured = settings.deidentify.secret
    if configured is not None:
        return _checked(configured.get_secret_value(), "deidentify.secret")
    path = settings.data.absolute() / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} can be read by others; it must have mode 0600")
        return _checked(path.read_text("ascii").strip(), str(path))
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"{path} cannot be read or made ({type(error).__name__})") from None


def _make(path: Path) -> None:
    """Make the file with its content, whole or not at all; of several processes the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{FILE_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _checked(text: str, where: str) -> bytes:
    if len(text) < _LEAST_CHARACTERS:
        raise ConfigurationError(f"{where} has less than {_LEAST_CHARACTERS} characters")
    return text.encode()

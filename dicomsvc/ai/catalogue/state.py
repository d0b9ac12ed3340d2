"""What an administrator has decided about models: a small file beside the added ones, read by all processes."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dicomsvc.errors import ConfigurationError, OutOfResources
from dicomsvc.store.layout import sync_folder


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """``preferred``: the version that is taken when none is named. ``trusted``: SHA-256 of runners that may run."""

    disabled: frozenset[str] = frozenset()
    preferred: Mapping[str, int] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()


class StateFile:
    """``catalogue.json`` in the folder of added models."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "catalogue.json"

    def read(self) -> CatalogueState:
        """Return the decisions; without a file there are none.

        Raises
        ------
        ConfigurationError
            When the file is not what `write` makes.
        """
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            return CatalogueState(
                frozenset(map(str, values["disabled"])),
                {str(name): int(number) for name, number in values["preferred"].items()},
                frozenset(map(str, values["trusted"])),
            )
        except FileNotFoundError:
            return CatalogueState()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{self._path} cannot be read ({type(error).__name__}); repair or remove it"
            ) from None

    def write(self, state: CatalogueState) -> None:
        """Replace the file at once; call it with `lock` held."""
        values = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in asdict(state).items()}
        draft = self._path.with_name(f".catalogue-{secrets.token_hex(4)}")
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(values, file, indent=2, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            sync_folder(self._folder)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise OutOfResources(f"{self._path} cannot be written: {os.strerror(error.errno or 0)}") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let nobody else change the catalogue meanwhile."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OutOfResources(f"{self._folder} cannot be written: {os.strerror(error.errno or 0)}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

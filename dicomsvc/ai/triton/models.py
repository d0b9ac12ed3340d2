"""Which models a server is to have, as its keeper asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Models(Protocol):
    """Where the models lie and which of them are wanted."""

    def stage(self) -> Path:
        """Bring the model repository up to date and return its folder; called before each start of the server.

        Raises
        ------
        DicomsvcError
            When it cannot; the server is tried again later.
        """
        ...

    def enabled(self) -> Sequence[str]:
        """Return the names of the models to be loaded; called every few seconds."""
        ...


@dataclass(frozen=True, slots=True)
class FolderModels:
    """All models of a folder that is a model repository as it stands."""

    folder: Path

    def stage(self) -> Path:
        return self.folder

    def enabled(self) -> Sequence[str]:
        return sorted(configuration.parent.name for configuration in self.folder.glob("*/config.pbtxt"))

"""The catalogue in force: models that come with dicomsvc, models that were added, what is enabled.

Added models and the decisions about all of them lie in ``<data>/models``; what our own Triton runs on is staged in
``<data>/triton/repository``. Everything is read from the files each time, so all processes see a change at once.
"""

import os
import re
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dicomsvc
from dicomsvc.ai.catalogue.adding import put_model, take_out
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.staging import stage_models
from dicomsvc.ai.catalogue.state import CatalogueState, StateFile
from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest, ConfigurationError, Conflict, InvalidModel, NotFound

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})(?::([1-9][0-9]{0,8}))?")
Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its versions. ``problem`` says why it cannot be used; it has no versions then."""

    name: str
    folder: Path
    added: bool
    enabled: bool
    versions: tuple[Manifest, ...] = ()
    preferred: int | None = None
    problem: str | None = None

    def version(self, number: int | None = None) -> Manifest:
        """Return a version; without a number the preferred one, else the highest.

        Raises
        ------
        NotFound
            When there is no such version.
        InvalidModel
            When the folder is not right.
        """
        if self.problem is not None:
            raise InvalidModel(self.problem)
        by_number = {manifest.number: manifest for manifest in self.versions}
        if number is None:
            return by_number.get(self.preferred or 0, self.versions[-1])
        if number not in by_number:
            there = ", ".join(map(str, by_number))
            raise NotFound(f"model {self.name} has no version {number}; it has {there}")
        return by_number[number]


def parse_reference(text: str) -> tuple[str, int | None]:
    """Split ``nuclei`` or ``nuclei:2``.

    Raises
    ------
    BadRequest
        When it is neither.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise BadRequest(f"{text[:80]!r} is no model; write NAME or NAME:NUMBER")
    return match[1], int(match[2]) if match[2] else None


def shipped_folder() -> Path:
    """Return the folder of the models that come with dicomsvc, installed or in a checkout."""
    package = Path(dicomsvc.__file__).parent
    for folder in (package / "triton_models", package.parent / "triton_models"):
        if folder.is_dir():
            return folder
    raise ConfigurationError("the models that come with dicomsvc are missing; set triton.models to their folder")


class Catalogue:
    """All models that one service knows; safe to use from several threads and processes."""

    def __init__(self, settings: Settings) -> None:
        data = settings.data.absolute()
        self._added = data / "models"
        self._repository = data / "triton" / "repository"
        self._shipped = settings.triton.models.absolute() if settings.triton.models else shipped_folder()
        self._instances = settings.triton.instances or len(os.sched_getaffinity(0))
        self._state = StateFile(self._added)
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[Signature, tuple[Manifest, ...] | str]] = {}
        self._staged: object = None

    def models(self) -> list[Model]:
        """Return all models by name, those with a problem too."""
        return self._models(self._state.read())

    def find(self, name: str, number: int | None = None) -> Manifest:
        """Return one version of an enabled model; ``name`` may be ``name:number``.

        Raises
        ------
        NotFound
            When there is none; the message lists what there is.
        Conflict
            When it is disabled.
        InvalidModel
            When its folder is not right.
        """
        name, own = parse_reference(name)
        model = self.get(name)
        if not model.enabled:
            raise Conflict(f"model {name} is disabled; `dicomsvc models enable {name}`")
        return model.version(own if number is None else number)

    def get(self, name: str) -> Model:
        """Return a model, enabled or not.

        Raises
        ------
        NotFound
            When there is none; the message lists what there is.
        """
        models = {model.name: model for model in self.models()}
        if name not in models:
            raise NotFound(f"there is no model {name[:64]}; there are {', '.join(sorted(models)) or 'none'}")
        return models[name]

    def enabled(self) -> Sequence[str]:
        """Return the names of the models that the server is to have, having staged them if anything has changed.

        A model whose staged files have changed is left out once: the server lets it go, and loads it anew when asked
        again. So weights never differ from the manifest that tells of them.
        """
        state, usable = self._usable()
        changed = self._stage(state, usable) if (state, usable) != self._staged else []
        return [model.name for model in usable if model.name not in changed]

    def stage(self) -> Path:
        """Bring the folder that our own Triton runs on up to date, and return it.

        Raises
        ------
        OutOfResources
            When it cannot be written.
        """
        self._stage(*self._usable())
        return self._repository

    def add(self, folder: Path, *, trust_code: bool = False) -> Model:
        """Take in a model folder, or further versions of an added model, and enable it.

        Raises
        ------
        InvalidModel
            When it is not right; names file and line.
        Conflict
            When the name is that of a model that comes with dicomsvc, or a version is there with other weights.
        """
        with self._state.lock():
            name = folder.resolve().name
            if name in self._folders(self._shipped):
                raise Conflict(f"model {name} comes with dicomsvc; give the folder another name")
            addition = put_model(folder, self._added, trust_code=trust_code)
            state = self._state.read()
            self._state.write(replace(state, disabled=state.disabled - {name}, trusted=state.trusted | addition.code))
        return self.get(name)

    def set_enabled(self, name: str, enabled: bool, number: int | None = None) -> Model:
        """Enable or disable a model; ``number`` becomes the version that is taken when none is named.

        Raises
        ------
        NotFound, InvalidModel
            As for `Model.version`.
        """
        with self._state.lock():
            model = self.get(name)
            if enabled:
                model.version(number)
            state = self._state.read()
            disabled = state.disabled - {name} if enabled else state.disabled | {name}
            preferred = dict(state.preferred) | ({name: number} if number is not None else {})
            self._state.write(replace(state, disabled=disabled, preferred=preferred))
        return self.get(name)

    def remove(self, name: str) -> None:
        """Remove an added model.

        Raises
        ------
        NotFound
            When there is none.
        Conflict
            When it comes with dicomsvc.
        """
        with self._state.lock():
            if not self.get(name).added:
                raise Conflict(f"model {name} comes with dicomsvc; `dicomsvc models disable {name}` puts it out of use")
            take_out(self._added, name)
            state = self._state.read()
            preferred = {other: number for other, number in state.preferred.items() if other != name}
            self._state.write(replace(state, disabled=state.disabled - {name}, preferred=preferred))

    def withdraw(self, name: str, numbers: Collection[int]) -> None:
        """Take versions of an added model out again, and the model with its last one."""
        with self._state.lock():
            kept = {manifest.number for manifest in self.get(name).versions} - set(numbers)
            if kept:
                for number in numbers:
                    take_out(self._added, f"{name}/{number}")
                return
        self.remove(name)

    def _models(self, state: CatalogueState) -> list[Model]:
        shipped = self._folders(self._shipped)
        added = {name: folder for name, folder in self._folders(self._added).items() if name not in shipped}
        found = []
        for name, folder in sorted({**shipped, **added}.items()):
            read = self._manifests(folder)
            model = Model(name, folder, name in added, name not in state.disabled)
            if isinstance(read, str):
                found.append(replace(model, problem=read))
            else:
                found.append(replace(model, versions=read, preferred=state.preferred.get(name)))
        return found

    def _folders(self, root: Path) -> dict[str, Path]:
        if not root.is_dir():
            return {}
        return {
            entry.name: entry
            for entry in root.iterdir()
            if not entry.name.startswith(".")
            and entry.is_dir()
            and any((entry / file).exists() for file in ("config.pbtxt", "model.toml"))
        }

    def _manifests(self, folder: Path) -> tuple[Manifest, ...] | str:
        """Return a folder's versions, or what is wrong with it; reads only what has changed."""
        signature = tuple(_signature(folder))
        with self._lock:
            known = self._read.get(folder)
        if known is not None and known[0] == signature:
            return known[1]
        try:
            read: tuple[Manifest, ...] | str = tuple(read_manifest(folder))
        except InvalidModel as error:
            read = str(error)
        with self._lock:
            self._read[folder] = (signature, read)
        return read

    def _usable(self) -> tuple[CatalogueState, list[Model]]:
        state = self._state.read()
        return state, [model for model in self._models(state) if model.enabled and model.problem is None]

    def _stage(self, state: CatalogueState, models: list[Model]) -> list[str]:
        folders = [(model.folder, model.versions) for model in models]
        with self._state.lock():
            changed = stage_models(self._repository, folders, state.trusted, self._instances)
        self._staged = (state, models)
        return changed


def _signature(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in sorted((*folder.glob("*.*"), *folder.glob("*/*.*"))):
        try:
            status = path.lstat()
        except OSError:
            continue
        yield str(path), status.st_ino, status.st_size, status.st_mtime_ns

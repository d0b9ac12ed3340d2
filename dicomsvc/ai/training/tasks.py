"""The tasks that there are, by the name that a recipe gives."""

import tomllib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dicomsvc.ai.training.recipe import parse_recipe
from dicomsvc.ai.training.task import Task
from dicomsvc.errors import BadRequest


def _in(module: str, name: str) -> Callable[[], type[Task]]:
    """Return what imports a task when it is asked for."""

    def load() -> type[Task]:
        found: type[Task] = getattr(import_module(f"dicomsvc.ai.training.{module}"), name)
        return found

    return load


TASKS: Final[Mapping[str, Callable[[], type[Task]]]] = MappingProxyType(
    {
        "nuclei": _in("nuclei.task", "NucleiTask"),
        "wnet": _in("wnet.task", "WNetTask"),
        "segmentation": _in("segmentation.task", "SegmentationTask"),
        "hover": _in("hover.task", "HoverTask"),
        "ihc": _in("ihc.task", "IhcTask"),
        "patches": _in("patches.task", "PatchTask"),
        "virtual-if": _in("virtual.task", "VirtualTask"),
        "nuclick": _in("nuclick.task", "NuclickTask"),
    }
)


def read_task(file: Path) -> Task:
    """Read a recipe and return its task; without the key ``task`` it is ``nuclei``.

    Raises
    ------
    BadRequest
        When it is no TOML, names no known task, or has an unknown or a wrong key.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} is no TOML: {error}") from error
    name = document.pop("task", "nuclei")
    if name not in TASKS:
        raise BadRequest(f"{file}: task {name!r} is not known (known: {', '.join(TASKS)})")
    task = TASKS[name]()
    return task(parse_recipe(task.recipe_type, document, file))

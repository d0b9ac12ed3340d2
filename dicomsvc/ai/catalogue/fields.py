"""Takes values out of a parsed TOML file, strictly, and says on which line of it something is wrong."""

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from dicomsvc.ai.catalogue.toml_lines import key_lines, line_of
from dicomsvc.errors import InvalidModel

_LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file with the lines of its keys."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[tuple[str | int, ...], int]

    def fail(self, path: tuple[str | int, ...], problem: str) -> NoReturn:
        """Raise `InvalidModel` that names file, line and key."""
        raise InvalidModel(f"{self.name}:{line_of(self.lines, path)}: {shown(path)} {problem}".replace(":  ", ": "))


def parse_document(name: str, content: bytes) -> Document:
    """Parse TOML; ``name`` is what messages call the file.

    Raises
    ------
    InvalidModel
        When it is not UTF-8 or not TOML.
    """
    try:
        text = content.decode("utf-8").replace("\r\n", "\n")
        return Document(name, tomllib.loads(text), key_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidModel(_located(name, str(error), text)) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidModel(f"{name}:{line}: is not UTF-8") from None
    except RecursionError:
        raise InvalidModel(f"{name}:1: is nested too deeply") from None


def _located(name: str, message: str, text: str) -> str:
    """Move the place that `tomllib` puts at the end of its message to the front."""
    problem, _, place = message.rpartition(" (at ")
    line = "".join(character for character in place.partition(",")[0] if character.isdigit())
    return f"{name}:{line or text.count(chr(10)) + 1}: {problem or message}"


def shown(path: tuple[str | int, ...]) -> str:
    """Return a path as people write it: ``classes[0].colour``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


class Fields:
    """One table of the file. Every key that is taken is remembered; `done` refuses the others."""

    def __init__(self, document: Document, path: tuple[str | int, ...], values: Any) -> None:
        self._document = document
        self._path = path
        if not isinstance(values, dict):
            document.fail(path, "must be a table")
        self._values: dict[str, Any] = values
        self._taken: set[str] = set()

    @classmethod
    def top(cls, document: Document) -> "Fields":
        """Return the whole file's table."""
        return cls(document, (), dict(document.values))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise `InvalidModel` about a key of this table."""
        self._document.fail((*self._path, key), problem)

    def done(self) -> None:
        """Raise `InvalidModel` when the table has keys that nobody knows."""
        for key in self._values:
            if key not in self._taken:
                self.fail(key, f"is not known here; known are {', '.join(sorted(self._taken))}")

    def _take(self, key: str, default: Any) -> Any:
        self._taken.add(key)
        if key in self._values:
            return self._values[key]
        if default is None:
            where = f" in [{shown(self._path)}]" if self._path else ""
            self.fail(key, f"is missing{where}")
        return default

    def text(self, key: str, default: str | None = None, *, longest: int = _LONGEST_TEXT) -> str:
        """Take a text without control characters; a required one is not empty."""
        value = self._take(key, default)
        if not isinstance(value, str):
            self.fail(key, "must be a text")
        value = value.strip()
        if key in self._values and default is None and not value:
            self.fail(key, "must not be empty")
        if len(value) > longest:
            self.fail(key, f"has {len(value)} characters; {longest} is the limit")
        if any(ord(character) < 32 and character not in "\n\t" for character in value):
            self.fail(key, "has control characters")
        return str(value)

    def choice(self, key: str, choices: list[str], default: str | None = None) -> str:
        """Take one of some texts."""
        value = self._take(key, default)
        if value not in choices:
            self.fail(key, f"must be one of {', '.join(choices)}")
        return str(value)

    def number(self, key: str, default: float | None = None, *, above: float | None = None) -> float:
        """Take a finite number."""
        value = self._take(key, default)
        wanted = "a number" if above is None else f"a number above {above:g}"
        if not _is_number(value) or (above is not None and value <= above):
            self.fail(key, f"must be {wanted}")
        return float(value)

    def integer(self, key: str, default: int | None = None, *, least: int, most: int) -> int:
        """Take a whole number within limits."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.fail(key, f"must be a whole number from {least} to {most}")
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Take true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self.fail(key, "must be true or false")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Take an array of different texts."""
        return self._array(key, default, "different texts", _is_text)

    def numbers(self, key: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Take an array of finite numbers."""
        return tuple(map(float, self._array(key, default, "numbers", _is_number)))

    def _array(
        self, key: str, default: tuple[Any, ...] | None, wanted: str, fits: Callable[[Any], bool]
    ) -> tuple[Any, ...]:
        value = self._take(key, default)
        if not isinstance(value, list | tuple) or not all(map(fits, value)):
            self.fail(key, f"must be an array of {wanted}")
        if wanted.startswith("different") and len(set(value)) != len(value):
            self.fail(key, f"must be an array of {wanted}")
        return tuple(value)

    def plain(self, key: str) -> Any:
        """Take whatever stands there."""
        return self._take(key, None)

    def table(self, key: str, default: dict[str, Any] | None = None) -> "Fields":
        """Take a table."""
        return Fields(self._document, (*self._path, key), self._take(key, default))

    def tables(self, key: str, *, required: bool) -> list["Fields"]:
        """Take an array of tables."""
        values = self._take(key, None if required else [])
        if not isinstance(values, list) or (required and not values):
            self.fail(key, f"must be one or more tables, [[{key}]]")
        return [Fields(self._document, (*self._path, key, number), value) for number, value in enumerate(values)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

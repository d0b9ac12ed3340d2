"""On which line of a TOML file each key stands; `tomllib` does not tell."""

import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]
_SPACE = " \t\r"
_QUOTES = "\"'"


def key_lines(text: str) -> Mapping[Path, int]:
    """Return the line, from 1, of each key, table and array entry of a text that `tomllib` accepts.

    A path is made of keys and of places in arrays, e.g. ``("classes", 0, "colour")``.
    """
    return _Scanner(text).run()


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """Return the line of a path, or of the nearest thing around it that is written down."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scanner:
    """Walks once over the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}

    def run(self) -> Mapping[Path, int]:
        table: Path = ()
        while self._skip(newlines=True):
            line = self._line()
            if self._text.startswith("[[", self._at):
                table = self._header(2, line)
            elif self._text[self._at] == "[":
                table = self._header(1, line)
            else:
                self._pair(table)
        return self._lines

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _skip(self, *, newlines: bool) -> bool:
        """Go over space and comments; return whether anything is left."""
        spaces = _SPACE + "\n" if newlines else _SPACE
        while self._at < len(self._text):
            if self._text[self._at] in spaces:
                self._at += 1
            elif self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
                if not newlines:
                    return True
            else:
                return True
        return False

    def _header(self, brackets: int, line: int) -> Path:
        self._at += brackets
        path: Path = ()
        keys = self._keys()
        for number, key in enumerate(keys):
            path = (*path, key)
            if number == len(keys) - 1 and brackets == 2:
                self._arrays[path] = self._arrays.get(path, -1) + 1
            self._lines.setdefault(path, line)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        self._at += brackets
        self._lines.setdefault(path, line)
        return path

    def _keys(self) -> list[str]:
        """Read ``a.b."c"`` and the space behind it."""
        keys = []
        while True:
            self._skip(newlines=False)
            start = self._at
            if self._text[start] in _QUOTES:
                self._string()
                keys.append(next(iter(tomllib.loads(f"{self._text[start : self._at]} = 0"))))
            else:
                while self._text[self._at].isalnum() or self._text[self._at] in "_-":
                    self._at += 1
                keys.append(self._text[start : self._at])
            self._skip(newlines=False)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._keys())
        for end in range(len(table) + 1, len(path) + 1):
            self._lines.setdefault(path[:end], line)
        self._at += 1
        self._skip(newlines=False)
        self._value(path)

    def _value(self, path: Path) -> None:
        self._lines.setdefault(path, self._line())
        first = self._text[self._at]
        if first in _QUOTES:
            self._string()
        elif first == "[":
            self._members(path, "]")
        elif first == "{":
            self._members(path, "}")
        else:
            while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
                self._at += 1

    def _members(self, path: Path, closing: str) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(newlines=True)
            if self._text[self._at] == closing:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif closing == "}":
                self._pair(path)
            else:
                self._value((*path, number))
                number += 1

    def _string(self) -> None:
        quote = self._text[self._at]
        fence = quote * 3 if self._text.startswith(quote * 3, self._at) else quote
        self._at += len(fence)
        while not self._text.startswith(fence, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(fence)
        # Up to two quotes may stand before the closing three.
        while len(fence) == 3 and self._text.startswith(quote, self._at):
            self._at += 1

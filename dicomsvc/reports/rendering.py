"""A structured report as text for people, in English or Chinese; the words are in ``rendering.toml``."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.schema import Field, Option, fields
from dicomsvc.reports.values import FieldValue, Status, StructuredReport

LONGEST_QUOTE = 160
"""Characters of evidence that are quoted; of a longer stretch, its begin and its end."""

_UNITS = {"1": "", "{score}": "", "{ratio}": "", "{count}": ""}


@cache
def _words() -> Mapping[str, Any]:
    document = files("dicomsvc.reports") / "rendering.toml"
    return tomllib.loads(document.read_text(encoding="utf-8"))


def rendered(report: StructuredReport, language: str) -> str:
    """Return ``report`` in ``language`` (``en``, ``zh``): groups of fields, each value with the text that says so."""
    return "\n".join(_lines(report, language)) + "\n"


def _lines(report: StructuredReport, language: str) -> Iterator[str]:
    heading = _words()["heading"]
    yield heading["title"][language]
    if not report.quality.structured:
        yield _labelled(heading["unread"][language], report.quality.reason or "", language)
        return
    if report.organs:
        organs = (_named("organ", organ, language) for organ in report.organs)
        yield _labelled(heading["organs"][language], ("、" if language == "zh" else ", ").join(organs), language)
    yield heading["origin"][language]
    if not report.values:
        yield ""
        yield heading["nothing"][language]
    for title, values in _grouped(report.values).items():
        yield ""
        yield _words()["group"][title]["title"][language]
        for value in values:
            yield f"  {_line(value, language)}"
            for quote in _quotes(report.text, value):
                yield f"      {_labelled(heading['evidence'][language], quote, language)}"


def _grouped(values: tuple[FieldValue, ...]) -> dict[int, list[FieldValue]]:
    """Return the values by their group's place in the table, the tumour itself before what it does."""
    groups: dict[int, list[FieldValue]] = {}
    for value in values:
        if value.status is not Status.NOT_STATED:
            groups.setdefault(_group(fields().get(value.field), value.field), []).append(value)
    last = len(_words()["group"]) - 1
    return dict(sorted(groups.items(), key=lambda group: 0.5 if group[0] == last else group[0]))


def _group(field: Field | None, identifier: str) -> int:
    groups = _words()["group"]
    for number, group in enumerate(groups):
        if identifier in group.get("fields", ()) or (field and field.kind in group.get("kinds", ())):
            return number
    return len(groups) - 1


def _line(value: FieldValue, language: str) -> str:
    field = fields().get(value.field)
    # A list of markers: each is a fact of its own.
    marker = value.qualifiers.get("marker")
    title = str(marker) if marker else field.title[language] if field else value.field
    told = _labelled(title, _value(field, value, language), language)
    notes = list(_notes(value, language))
    if not notes:
        return told
    return f"{told}（{'；'.join(notes)}）" if language == "zh" else f"{told} ({'; '.join(notes)})"


def _value(field: Field | None, value: FieldValue, language: str) -> str:
    option = _option(field, value.value) if field else None
    if option is not None:
        told = option.title[language]
    elif field and field.kind == "tnm":
        told = str(value.value).capitalize()
    elif isinstance(value.value, str):
        told = _named("word", value.value, language)
    else:
        told = f"{value.value:g}" if isinstance(value.value, int | float) else ""
    unit = _UNITS.get(value.unit, value.unit) if value.unit else ""
    code = f" [{value.code.code}]" if value.code else ""
    return f"{told}{' ' if unit and unit != '%' else ''}{unit}{code}"


def _option(field: Field, value: object) -> Option | None:
    """Return the word's option, by the field or by one of its kind that has the value set for both."""
    alike = (other for other in fields().values() if other.kind == field.kind)
    return field.option(value) or next((option for other in alike if (option := other.option(value))), None)


def _notes(value: FieldValue, language: str) -> Iterator[str]:
    heading = _words()["heading"]
    if value.part is not None:
        yield f"{heading['part'][language]} {value.part}"
    for name, told in value.qualifiers.items():
        if told is not False and name != "marker":
            word = _named("word", told, language) if isinstance(told, str) else f"{told:g}"
            yield _named("qualifier", name, language) + ("" if told is True else f" {word}")
    if value.assertion.value in _words()["assertion"]:
        yield _named("assertion", value.assertion.value, language)
    if value.status.value in _words()["status"]:
        yield _named("status", value.status.value, language)
    if value.status is Status.DERIVED:
        yield f"{heading['rule'][language]} {value.rule}"


def _quotes(text: str, value: FieldValue) -> Iterator[str]:
    for place in value.evidence:
        quote = " ".join(text[place.start : place.end].split())
        if len(quote) > LONGEST_QUOTE:
            quote = f"{quote[: LONGEST_QUOTE // 2]} … {quote[-LONGEST_QUOTE // 2 :]}"
        yield f"“{quote}” [{place.start}:{place.end}]"


def _named(table: str, word: str, language: str) -> str:
    entry = _words()[table].get(word)
    told: str = entry[language] if entry else word
    return told


def _labelled(label: str, told: str, language: str) -> str:
    return f"{label}：{told}" if language == "zh" else f"{label}: {told}"

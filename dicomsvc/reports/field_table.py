"""The table of fields as a page: what is read, in which words, with which codes (``docs/reports-fields.md``)."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dicomsvc.reports.schema import SYSTEMS, Concept, Field, fields

_INTRODUCTION = f"""# Fields of pathology reports

What `dicomsvc reports` looks for, generated from `dicomsvc/reports/fields/*.toml` by
`dicomsvc reports fields --markdown`. Fields without organs are looked for in every report, the others in reports of
their organs. A code goes out with a value only where the table says where it was verified; else the value goes out
as text. Systems: {", ".join(f"{name} = {uri}" for name, uri in SYSTEMS.items())}.
"""
_COLUMNS = ("Field", "English", "Chinese", "Kind", "Unit", "Code", "Values")


def as_markdown() -> str:
    """Return the page: one table for all organs, then one for each set of organs."""
    return "\n".join([_INTRODUCTION, *_tables()])


def as_text() -> str:
    """Return one line a field: its id, titles, and organs."""
    width = max(map(len, fields()))
    return "\n".join(
        f"{field.id:{width}}  {field.title['en']}  {field.title['zh']}  {', '.join(field.organs) or 'all'}"
        for field in fields().values()
    )


def as_list() -> list[dict[str, Any]]:
    """Return the fields as JSON values, without the wordings."""
    return [
        {
            "id": field.id,
            "title": dict(field.title),
            "kind": field.kind,
            "organs": list(field.organs),
            "unit": field.unit,
            "code": asdict(field.concept) if field.concept else None,
            "several": bool(field.settings.get("many")),
            "values": [
                {
                    "value": option.value,
                    "title": dict(option.title),
                    "code": asdict(option.concept) if option.concept else None,
                }
                for option in field.options
            ],
        }
        for field in fields().values()
    ]


def _tables() -> Iterator[str]:
    of_organs: dict[tuple[str, ...], list[Field]] = {}
    for field in fields().values():
        of_organs.setdefault(field.organs, []).append(field)
    for organs in sorted(of_organs, key=lambda organs: (bool(organs), organs)):
        yield f"## {', '.join(organs).capitalize() if organs else 'All organs'}\n"
        yield _row(_COLUMNS)
        yield _row(["---"] * len(_COLUMNS))
        yield from map(_line, of_organs[organs])
        yield ""


def _line(field: Field) -> str:
    values = "; ".join(
        f"`{option.value}` {option.title['en']} / {option.title['zh']}{_code(option.concept, ' (', ')')}"
        for option in field.options
    )
    return _row(
        (
            f"`{field.id}`",
            field.title["en"],
            field.title["zh"],
            field.kind + (", several" if field.settings.get("many") else ""),
            field.unit or "",
            _code(field.concept),
            values,
        )
    )


def _code(concept: Concept | None, before: str = "", after: str = "") -> str:
    if concept is None:
        return ""
    where = f"verified: {concept.verified}" if concept.verified else "not verified, goes out as text"
    return f"{before}{concept.system} {concept.code}, {where}{after}"


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

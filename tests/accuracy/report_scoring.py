"""Made reports with the fields they state, and what the pipeline makes of them."""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

MARKERS = "ihc_marker"
ALWAYS = (
    "laterality",
    "histologic_type",
    "grade",
    "tumor_size_mm",
    "lymphovascular_invasion",
    "perineural_invasion",
    "margin_involved",
    "lymph_nodes_examined",
    "lymph_nodes_positive",
    "pt_category",
    "pn_category",
    "pm_category",
    "er",
    "pr",
    "her2_score",
)
"""Fields that are looked at in every report, stated or not."""
FINER = ("histologic_subtype",)
"""Fields that repeat another more finely; looked at where a report has more to say."""


@dataclass(frozen=True, slots=True)
class MadeReport:
    """``fields`` by field id, or ``id.qualifier``; ``check``: rules were never fitted to it, it is only scored."""

    id: str
    organ: str
    check: bool
    text: str
    fields: Mapping[str, str | float]
    unscored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of one report: what it states and what was found, None where nothing."""

    report: str
    field: str
    stated: object
    found: object

    @property
    def right(self) -> bool:
        return _word(self.stated) == _word(self.found)


def read_reports(folder: Path) -> list[MadeReport]:
    """Read a folder of ``<organ>.toml``."""
    found = []
    for file in sorted(folder.glob("*.toml")):
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        for entry in document["report"]:
            markers = {f"{MARKERS}.{name}": result for name, result in entry.get("ihc", {}).items()}
            found.append(
                MadeReport(
                    id=entry["id"],
                    organ=file.stem,
                    check=entry.get("check", False),
                    text=entry["text"],
                    fields=entry["fields"] | markers,
                    unscored=tuple(document.get("unscored", ())),
                )
            )
    return found


def score(reports: Iterable[MadeReport]) -> list[Cell]:
    """Return a cell for each field that a report states, and for each of `ALWAYS` and its organ's others."""
    reports = list(reports)
    of_organ: dict[str, set[str]] = defaultdict(lambda: set(ALWAYS))
    for report in reports:
        of_organ[report.organ] |= {name for name in report.fields if "." not in name and name not in FINER}
    cells = []
    for report in reports:
        values = structure(report.text).values
        names = (of_organ[report.organ] | set(report.fields)) - set(report.unscored)
        cells.extend(
            Cell(report.id, name, report.fields.get(name), _found(report, name, values)) for name in sorted(names)
        )
    return cells


def share_right(cells: Iterable[Cell]) -> float:
    """Return the share of right cells among those where something is stated or something was found."""
    told = [cell for cell in cells if cell.stated is not None or cell.found is not None]
    return sum(cell.right for cell in told) / len(told)


def _found(report: MadeReport, name: str, values: Iterable[FieldValue]) -> object:
    field, _, qualifier = name.partition(".")
    of_field = [value for value in values if value.field == field and value.status is not Status.NOT_STATED]
    if field == MARKERS:
        return next((value.value for value in of_field if value.qualifiers.get("marker") == qualifier), None)
    of_field.sort(key=lambda value: value.part is not None)
    if not of_field:
        return None
    if qualifier:
        return of_field[0].qualifiers.get(qualifier)
    # What a rule adds to a report that does not say it is not scored here.
    return None if of_field[0].status is Status.DERIVED and name not in report.fields else of_field[0].value


def _word(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value).lower()

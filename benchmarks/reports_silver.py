"""Fields of reports against silver labels: what a registry holds of the same patients, not what the text says.

Structures every labelled report and gives for each column: reports that have the label, those where we state a value,
how many of these agree with the label (95 % Wilson interval), and how many agree of all that have it. Labels and texts
differ where the registry read slides, radiology or another report; so a disagreement is a question, not an error.
``--half read|blind`` takes the reports whose identifier hashes even or odd: rules are written on the one alone.

Run ``python -m benchmarks.reports_silver REPORTS.jsonl[.gz] LABELS.csv[.gz] [--half read|blind] [--json]``.
"""

import argparse
import csv
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

Label = Callable[[str], object]
KIDNEY = ("KIRC", "KIRP", "KICH")
SUBTYPES = {
    "kidney clear cell renal carcinoma": "clear_cell_renal_cell_carcinoma",
    "kidney papillary renal cell carcinoma": "papillary_renal_cell_carcinoma",
    "kidney chromophobe": "chromophobe_renal_cell_carcinoma",
}
HISTOLOGY = {
    "infiltrating ductal carcinoma": "invasive_carcinoma_no_special_type",
    "infiltrating lobular carcinoma": "invasive_lobular_carcinoma",
    "hepatocellular carcinoma": "hepatocellular_carcinoma",
    "lung squamous cell carcinoma- not otherwise specified (nos)": "squamous_cell_carcinoma",
    "head and neck squamous cell carcinoma": "squamous_cell_carcinoma",
    "cervical squamous cell carcinoma": "squamous_cell_carcinoma",
    "colon adenocarcinoma": "adenocarcinoma",
    "rectal adenocarcinoma": "adenocarcinoma",
    "colon mucinous adenocarcinoma": "mucinous_adenocarcinoma",
    "lung adenocarcinoma- not otherwise specified (nos)": "adenocarcinoma",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of labels: ``read`` makes a value of the label, None to leave it out; the first of ``fields`` counts."""

    name: str
    column: str
    fields: tuple[str, ...]
    read: Label
    cohorts: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    ours: Label = field(default=lambda value: value)  # type: ignore[assignment]


@dataclass(slots=True)
class Tally:
    labelled: int = 0
    stated: int = 0
    agreed: int = 0


def _number(label: str) -> object:
    return float(label) if label.replace(".", "", 1).isdigit() else None


def _grade(label: str) -> object:
    return int(label[1]) if label[:1] == "g" and label[1:].isdigit() else None


def _category(label: str) -> object:
    return label[:2] if label[:1] in ("t", "n") and label[1:2].isdigit() else None


def _major(value: object) -> object:
    return str(value)[:2]


def _word(**words: str) -> Label:
    return lambda label: words.get(label)


def _side(label: str) -> object:
    return next((side for side in ("left", "right") if label.startswith((side, side[0] + "-"))), None)


_YES = _word(yes="present", no="absent")
_RECEPTOR = _word(positive="positive", negative="negative")
COLUMNS = (
    Column("kidney: laterality", "laterality", ("laterality",), _side, KIDNEY),
    Column("kidney: subtype", "hist", ("kidney_subtype",), SUBTYPES.get, KIDNEY),
    Column("kidney: grade", "grade", ("fuhrman_grade", "who_isup_grade", "nuclear_grade"), _grade, KIDNEY),
    Column("breast: laterality", "site_breast", ("laterality",), _side, ("BRCA",)),
    Column("lung: laterality", "site", ("laterality",), _side, ("LUAD", "LUSC")),
    Column("prostate: primary Gleason pattern", "gl1", ("gleason_primary",), _number, ("PRAD",)),
    Column("prostate: secondary Gleason pattern", "gl2", ("gleason_secondary",), _number, ("PRAD",)),
    Column("prostate: Gleason score", "gl", ("gleason_score",), _number, ("PRAD",)),
    Column("melanoma: Breslow thickness", "breslow", ("breslow_thickness_mm",), _number, ("SKCM",)),
    Column("melanoma: Clark level", "clark", ("clark_level",), {"iv": 4, "v": 5}.get, ("SKCM",)),
    Column("melanoma: ulceration", "ulc", ("ulceration",), _YES, ("SKCM",)),
    Column("histologic type", "hist", ("histologic_type",), HISTOLOGY.get),
    Column("grade, not of kidney", "grade", ("grade",), _grade, without=KIDNEY),
    Column("pT, whole", "pT", ("pt_category",), _category, ours=_major),
    Column("pN, whole", "pN", ("pn_category",), _category, ours=_major),
    Column("nodes examined", "ln_exam", ("lymph_nodes_examined",), _number),
    Column("nodes positive", "ln_pos", ("lymph_nodes_positive",), _number),
    Column("ER", "er", ("er",), _RECEPTOR, ("BRCA",)),
    Column("PR", "pr", ("pr",), _RECEPTOR, ("BRCA",)),
    Column("HER2, immunohistochemistry", "her2_ihc", ("her2_score",), lambda label: _number(label[:1]), ("BRCA",)),
    Column("residual tumour: margin", "residual", ("margin_involved",), _word(r0="absent", r1="present")),
    Column("margin", "margin", ("margin_involved",), _word(negative="absent", positive="present")),
    Column("lymphatic invasion", "lvi_l", ("lymphovascular_invasion",), _YES),
    Column("perineural invasion", "pni", ("perineural_invasion",), _YES),
)


def opened(file: Path) -> TextIO:
    return gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")


def half_of(identifier: str) -> str:
    return "blind" if hashlib.sha256(identifier.encode()).digest()[0] % 2 else "read"


def scored(reports: Path, labels: Path, half: str | None) -> tuple[int, dict[str, Tally]]:
    """Return how many reports were structured, and the tally of each column."""
    with opened(labels) as lines:
        rows = {row["barcode"]: row for row in csv.DictReader(lines)}
    tallies = {column.name: Tally() for column in COLUMNS}
    number = 0
    with opened(reports) as lines:
        for entry in map(json.loads, lines):
            row = rows.get(entry["barcode"])
            if row is None or (half and half_of(entry["barcode"]) != half):
                continue
            number += 1
            tally(tallies, row, structure(entry["text"]).values)
    return number, tallies


def tally(tallies: Mapping[str, Tally], row: Mapping[str, str], values: Sequence[FieldValue]) -> None:
    for column in COLUMNS:
        if (column.cohorts and row["cohort"] not in column.cohorts) or row["cohort"] in column.without:
            continue
        wanted = column.read(row[column.column]) if row[column.column] else None
        if wanted is None:
            continue
        own = tallies[column.name]
        own.labelled += 1
        got = next(_case_values(values, column.fields), None)
        own.stated += got is not None
        own.agreed += got is not None and column.ours(got) == wanted


def _case_values(values: Sequence[FieldValue], fields: tuple[str, ...]) -> Iterator[Any]:
    for wanted in fields:
        of_case = (value for value in values if value.field == wanted and value.status is not Status.NOT_STATED)
        yield from (value.value for value in sorted(of_case, key=lambda value: value.part is not None))


def interval(right: int, number: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share."""
    if not number:
        return 0.0, 1.0
    share, z = right / number, 1.96
    middle, width = share + z * z / (2 * number), z * math.sqrt(share * (1 - share) / number + (z / number) ** 2 / 4)
    return (middle - width) / (1 + z * z / number), (middle + width) / (1 + z * z / number)


def lines_of(tallies: Mapping[str, Tally]) -> Iterator[str]:
    yield f"{'column':38}{'labelled':>9}{'stated':>8}{'agree':>8}{'95 %':>12}{'of all':>8}"
    for name, own in tallies.items():
        low, high = interval(own.agreed, own.stated)
        agree, of_all = (100 * own.agreed / max(whole, 1) for whole in (own.stated, own.labelled))
        bounds = f"{100 * low:.0f}-{100 * high:.0f}"
        yield f"{name:38}{own.labelled:9}{own.stated:8}{agree:8.1f}{bounds:>12}{of_all:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--half", choices=("read", "blind"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    number, tallies = scored(asked.reports, asked.labels, asked.half)
    if asked.json:
        columns = {
            name: {"n": own.labelled, "stated": own.stated, "agreed": own.agreed} for name, own in tallies.items()
        }
        print(json.dumps({"reports": number, "columns": columns}))
        return
    print(f"{number} labelled reports" + (f", half {asked.half}" if asked.half else ""))
    print("\n".join(lines_of(tallies)))


if __name__ == "__main__":
    main()

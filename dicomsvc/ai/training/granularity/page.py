"""A report in words: Markdown, and the same as a page that needs no other file."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from dicomsvc.ai.training.granularity.measures import Estimate
from dicomsvc.ai.training.granularity.plan import SEGMENTERS

if TYPE_CHECKING:
    from dicomsvc.ai.training.granularity.report import Ordering, Report, Row

_MAIN: Final = {True: ("dice", "accuracy", "nuclei_recall"), False: ("f1", "accuracy", "precision", "recall")}
_NAMES: Final = {"f1": "F1", "nuclei_recall": "nuclei recall", "nuclei_precision": "nuclei precision", "dice": "Dice"}
_STYLE: Final = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto;padding:0 1em;line-height:1.4}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .5em;text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def markdown(report: "Report", plots: Mapping[str, str]) -> str:
    """Return the report; ``plots`` are files beside it by what they show."""
    parts = ["# Annotation granularity", _material(report), "## How the marks themselves fit", _fit(report)]
    if any(row.network not in SEGMENTERS for row in report.rows):
        parts += ["## What the marks do to labels of patches", _labels(report)]
    for segmenters, title in ((False, "Classifiers"), (True, "Segmenters")):
        rows = [row for row in report.rows if (row.network in SEGMENTERS) == segmenters]
        orderings = [each for each in report.orderings if (each.network in SEGMENTERS) == segmenters]
        if rows:
            shown = [file for name, file in plots.items() if name.startswith(title.lower())]
            pictures = [f"![{title}]({file})" for file in shown]
            parts += [f"## {title}", *pictures, _rows(rows, _measures(segmenters)), _verdicts(orderings, segmenters)]
    return "\n\n".join(parts) + "\n"


def html_page(text: str, plots: Mapping[str, str]) -> str:
    """Return Markdown of the kind that `markdown` writes as one HTML file, its plots inside."""
    body = []
    for block in text.strip().split("\n\n"):
        heading = re.match(r"(#+) (.*)", block)
        if heading:
            body.append(f"<h{len(heading[1])}>{_inline(heading[2])}</h{len(heading[1])}>")
        elif block.startswith("!["):
            body += [plots[file] for file in re.findall(r"\]\(([^)]+)\)", block)]
        elif block.startswith("|"):
            body.append(_html_table(block.splitlines()))
        elif block.startswith("- "):
            body.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in block.splitlines()) + "</ul>")
        else:
            body.append(f"<p>{_inline(block)}</p>")
    head = f'<meta charset="utf-8"><title>Annotation granularity</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _material(report: "Report") -> str:
    plan, pictures, nuclei = report.plan, report.material["pictures"], report.material["nuclei"]
    amounts = ", ".join(f"{pictures[part]} to {verb} ({nuclei[part]:,} nuclei)" for part, verb in _PARTS)
    scaled = f"scaled to nuclei of {plan.diameter:g} px" if plan.diameter is not None else "as they are"
    cells = sum(row.seeds for row in report.rows)
    missing = sum(1 for _ in plan.cells()) - cells
    steps = ", ".join(f"{network} {number}" for network, number in plan.steps.items())
    left = f" {missing} trials are not done yet." if missing else ""
    return (
        f"Pictures, {scaled}, split by picture: {amounts}. Grades of nuclei: {report.material['graded_by']}. "
        f"{cells} trials, seeds a cell: {plan.seeds}; steps: {steps}.{left} Everything is measured against the pixels, "
        f"with 95 % intervals of drawing the test pictures anew; they do not hold the chance of training, which only "
        f"several seeds show."
    )


_PARTS: Final = (("training", "train on"), ("validation", "choose weights"), ("test", "measure"))


def _fit(report: "Report") -> str:
    names = ("dice", "accuracy", "nuclei_recall", "nuclei_precision")
    rows = [[kind, *(_figure(found[name]) for name in names)] for kind, found in report.fit.items()]
    return _table(["marks", *(_NAMES.get(name, name) for name in names)], rows)


def _labels(report: "Report") -> str:
    rows = [
        [patch, kind, str(total), f"{lost / max(total, 1):.1%}", f"{changed / max(total - lost, 1):.1%}"]
        for patch, kinds in report.material["labels"].items()
        for kind, (total, lost, changed) in kinds.items()
    ]
    return _table(["px", "marks", "test patches labelled by pixels", "lost", "of the others, another label"], rows)


def _measures(segmenters: bool) -> tuple[str, ...]:
    return _MAIN[segmenters]


def _rows(rows: Sequence["Row"], measures: Sequence[str]) -> str:
    heads = [
        "network",
        "px",
        "marks",
        *(_NAMES.get(name, name) for name in measures),
        f"{_NAMES[measures[0]]}, own marks",
    ]
    lines = [
        [row.network, str(row.patch), row.granularity, *(_figure(row.measures[name]) for name in measures),
         _figure(row.own[measures[0]])]
        for row in rows
    ]  # fmt: skip
    return _table(heads, lines)


def _verdicts(orderings: Sequence["Ordering"], segmenters: bool) -> str:
    lines = []
    for measure in _MAIN[segmenters]:
        of = [each for each in orderings if each.measure == measure]
        if not of:
            continue
        verdicts: dict[str, list[str]] = {}
        for each in of:
            where = each.network if segmenters else f"{each.network} at {each.patch} px"
            verdicts.setdefault(each.verdict, []).append(f"{where} ({_signed(each.difference)})")
        falling = sum(each.falls for each in of)
        told = "; ".join(f"{verdict}: {', '.join(places)}" for verdict, places in verdicts.items())
        lines.append(
            f"- {_NAMES.get(measure, measure)} falls with every coarser mark in {falling} of {len(of)}. {told}."
        )
    return "Finest less coarsest marks, with intervals:\n\n" + "\n".join(lines)


def _figure(each: Estimate) -> str:
    return f"{each.value:.3f} ({each.low:.3f}-{each.high:.3f})"


def _signed(each: Estimate) -> str:
    return f"{each.value:+.3f}, {each.low:+.3f} to {each.high:+.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _html_table(lines: Sequence[str]) -> str:
    cells = [[_inline(cell.strip()) for cell in line.strip("| ").split("|")] for line in lines]
    head = "".join(f"<th>{cell}</th>" for cell in cells[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in cells[2:])
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _inline(text: str) -> str:
    return escape(text, quote=False)

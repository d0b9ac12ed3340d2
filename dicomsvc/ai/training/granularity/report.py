"""The table, the orderings, the plots: JSON, CSV, Markdown, and a page that needs nothing else."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from dicomsvc.ai.training.granularity.charts import Group, bar_chart
from dicomsvc.ai.training.granularity.marks import Granularity
from dicomsvc.ai.training.granularity.measures import (
    CLASSIFIER,
    SEGMENTER,
    Estimate,
    Pictures,
    differences,
    estimates,
    pictures_of,
    pooled,
)
from dicomsvc.ai.training.granularity.page import html_page, markdown
from dicomsvc.ai.training.granularity.plan import CLASSIFIERS, SEGMENTERS, Plan, read_plan
from dicomsvc.ai.training.granularity.study import MATERIAL, results
from dicomsvc.errors import BadRequest

TRUTHS: Final = ("pixel", "own")
_FROM_FINE: Final = (Granularity.PIXEL, Granularity.FITTED_ELLIPSE, Granularity.ELLIPSE, Granularity.BOX)
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A network on one kind of marks, all seeds together."""

    network: str
    patch: int
    granularity: str
    seeds: int
    steps: int
    measures: dict[str, Estimate]
    """Against the pixels."""
    own: dict[str, Estimate]
    """Against the same kind of marks that it was trained on."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """How a measure goes from fine marks to coarse ones; ``difference`` is finest less coarsest."""

    network: str
    patch: int
    measure: str
    values: dict[str, float]
    difference: Estimate

    @property
    def falls(self) -> bool:
        """Whether every coarser kind of marks does worse, as the paper has it."""
        values = list(self.values.values())
        return all(one > other for one, other in pairwise(values))

    @property
    def verdict(self) -> str:
        if not self.difference.is_apart_from_zero:
            return "not told apart"
        if self.difference.value < 0:
            return "the other way round"
        return "as in the paper" if self.falls else "finest above coarsest, not all in order"


@dataclass(frozen=True, slots=True)
class Report:
    """All of a study."""

    plan: Plan
    material: Mapping[str, Any]
    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...]
    fit: dict[str, dict[str, Estimate]]
    """How the marks themselves fit the pixels."""


def make_report(out: Path) -> Report:
    """Gather what a study has so far.

    Raises
    ------
    BadRequest
        When there is nothing, or it is not readable.
    """
    plan = read_plan(out)
    if plan is None:
        raise BadRequest(f"{out} holds no study")
    try:
        material = json.loads((out / MATERIAL).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{out / MATERIAL} is not readable") from error
    counts: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for document in results(out):
        cell = document["cell"]
        counts[cell["network"], cell["patch"], cell["granularity"]].append(document)
    order = sorted(counts, key=lambda key: (_place(key[0]), key[1], _FROM_FINE.index(Granularity(key[2]))))
    fit = {
        kind: estimates({name: pictures_of({"pictures": {name: {"pixel": table}}}, "pixel")[name]
                         for name, table in tables.items()}, SEGMENTER)
        for kind, tables in material["fit"].items()
    }  # fmt: skip
    return Report(plan, material, tuple(_row(key, counts[key]) for key in order), tuple(_orderings(counts, order)), fit)


def write_report(report: Report, out: Path) -> list[Path]:
    """Write results.json, results.csv, report.md, report.html and the plots; returns their files."""
    plots = {name: svg for name, svg in _plots(report).items() if svg}
    text = markdown(report, {name: f"{name}.svg" for name in plots})
    files = {
        "results.json": json.dumps(_document(report), indent=1) + "\n",
        "results.csv": _csv(report.rows),
        "report.md": text,
        "report.html": html_page(text, {f"{name}.svg": svg for name, svg in plots.items()}),
        **{f"{name}.svg": svg for name, svg in plots.items()},
    }
    for name, content in files.items():
        (out / name).write_text(content, encoding="utf-8")
    return [out / name for name in files]


def _place(network: str) -> int:
    return (*CLASSIFIERS, *SEGMENTERS).index(network)


def _pictures(documents: Sequence[dict[str, Any]], truth: str) -> Pictures:
    return pooled([pictures_of(document, truth) for document in documents])


def _row(key: Key, documents: Sequence[dict[str, Any]]) -> Row:
    measures = SEGMENTER if key[0] in SEGMENTERS else CLASSIFIER
    pixel, own = (estimates(_pictures(documents, truth), measures) for truth in TRUTHS)
    return Row(*key, len(documents), documents[0]["steps"], pixel, own)


def _orderings(counts: Mapping[Key, Sequence[dict[str, Any]]], order: Sequence[Key]) -> list[Ordering]:
    found = []
    for network, patch in dict.fromkeys((key[0], key[1]) for key in order):
        kinds = [key for key in order if key[:2] == (network, patch)]
        if len(kinds) < 2:
            continue
        measures = SEGMENTER if network in SEGMENTERS else CLASSIFIER
        tables = [_pictures(counts[key], "pixel") for key in kinds]
        values = [estimates(each, measures) for each in tables]
        apart = differences(tables[0], tables[-1], measures)
        found += [
            Ordering(
                network,
                patch,
                name,
                {key[2]: each[name].value for key, each in zip(kinds, values, strict=True)},
                apart[name],
            )
            for name in measures
        ]
    return found


def _plots(report: Report) -> dict[str, str]:
    kinds = [str(kind) for kind in _FROM_FINE if kind in report.plan.granularities]
    plots = {}
    for name, networks, measure, title in (
        ("classifiers", CLASSIFIERS, "f1", "Classifiers: F1, mean over grades, by network and patch (95 % interval)"),
        ("segmenters", SEGMENTERS, "dice", "Segmenters: Dice against the pixels (95 % interval)"),
        ("segmenters_recall", SEGMENTERS, "nuclei_recall", "Segmenters: nuclei recall against the pixels"),
    ):
        bars = {(row.network, row.patch, row.granularity): row.measures.get(measure) for row in report.rows}
        places = dict.fromkeys((row.network, row.patch) for row in report.rows if row.network in networks)
        groups = [
            Group(
                network if networks is SEGMENTERS else f"{network}\n{patch} px",
                tuple(bars.get((network, patch, kind)) for kind in kinds),
            )
            for network, patch in places
        ]
        plots[name] = bar_chart(title, kinds, _spread(groups)) if groups else ""
    return plots


def _spread(groups: list[Group]) -> list[Group]:
    """Shorten names that would run into each other."""
    return [Group(group.label.replace("efficientnet_", "").replace("_v2", ""), group.bars) for group in groups]


def _document(report: Report) -> dict[str, Any]:
    material = {name: value for name, value in report.material.items() if name != "fit"}
    return {
        "plan": asdict(report.plan),
        "material": material,
        "marks": {kind: {name: asdict(each) for name, each in found.items()} for kind, found in report.fit.items()},
        "rows": [asdict(row) for row in report.rows],
        "orderings": [{**asdict(each), "falls": each.falls, "verdict": each.verdict} for each in report.orderings],
    }


def _csv(rows: Sequence[Row]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["network", "patch", "granularity", "seeds", "steps", "truth", "measure", "value", "low", "high"])
    for row in rows:
        for truth, measures in zip(TRUTHS, (row.measures, row.own), strict=True):
            for name, each in measures.items():
                figures = [f"{value:.4f}" for value in (each.value, each.low, each.high)]
                writer.writerow([row.network, row.patch, row.granularity, row.seeds, row.steps, truth, name, *figures])
    return lines.getvalue()

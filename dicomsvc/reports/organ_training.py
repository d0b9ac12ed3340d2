"""Training of the organ classifier: multinomial logistic regression over hashed words, on a CPU in a minute.

The figure beside it is from data held out by patient: each of five folds is judged by a model that has seen none of its
patients, together with the rules as in `dicomsvc.reports.organs`.
"""

import gzip
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import BadRequest
from dicomsvc.reports.organ_model import BUCKETS, OrganModel, features
from dicomsvc.reports.organs import packages, rank, settle
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.normalise import normalised

FOLDS = 5
_STEPS, _DECAY, _RATE, _BIAS_RATE, _SCALE = 150, 3e-4, 0.02, 0.05, 8.0
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A report whose organ is known; reports of one patient are never on both sides of a fold."""

    text: str
    organ: str
    patient: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Reports by how their packages were opened; ``extra`` is one of another organ, alone or beside it."""

    right: int
    missed: int
    extra: int


def read_labelled(file: Path, label: str, patient: str) -> list[Labelled]:
    """Read JSON lines (``.gz`` or not) with ``text``; a TCGA study's abbreviation as the label stands for its organ.

    Raises
    ------
    BadRequest
        A line lacks a key, or there are fewer than two organs.
    """
    studies = tomllib.loads((files("dicomsvc.reports.models") / "studies.toml").read_text(encoding="utf-8"))["organ"]
    found = []
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                organ = str(entry[label])
                found.append(Labelled(entry["text"], studies.get(organ, organ), str(entry[patient])))
            except (KeyError, TypeError, ValueError) as error:
                raise BadRequest(f"{file.name}, line {number}: {type(error).__name__}") from error
    if len({report.organ for report in found}) < 2:
        raise BadRequest(f"{file.name} holds reports of fewer than two organs")
    return found


def train(reports: Sequence[Labelled], version: str) -> OrganModel:
    """Return the classifier of the reports' organs, its weights rounded to 8 bit."""
    organs = tuple(sorted({report.organ for report in reports}))
    weights, bias = _fitted(_matrix(reports), np.array([organs.index(report.organ) for report in reports]), len(organs))
    scale = np.maximum(np.abs(weights).max(axis=0), 1e-6) / 127
    return OrganModel(organs, np.round(weights / scale).astype(np.int8), scale.astype(np.float32), bias, version)


def _matrix(reports: Sequence[Labelled]) -> Matrix:
    matrix = np.zeros((len(reports), BUCKETS), np.float32)
    for row, report in enumerate(reports):
        places, values = features(normalised(report.text))
        matrix[row, places] = values
    return matrix


def _fitted(matrix: Matrix, target: npt.NDArray[np.intp], organs: int) -> tuple[Matrix, Matrix]:
    """Fit by Adam over all reports at once; rare organs count more, by the root of their number."""
    used = np.flatnonzero(matrix.any(axis=0))
    known = matrix[:, used] * _SCALE
    weights, bias = np.zeros((len(used), organs), np.float32), np.zeros(organs, np.float32)
    mean, spread = np.zeros_like(weights), np.zeros_like(weights)
    wanted = np.eye(organs, dtype=np.float32)[target]
    importance = (1 / np.sqrt(np.maximum(np.bincount(target, minlength=organs), 1)))[target].astype(np.float32)
    importance /= importance.sum()
    for step in range(1, _STEPS + 1):
        scores = known @ weights + bias
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        error = (likely / likely.sum(axis=1, keepdims=True) - wanted) * importance[:, None]
        slope = known.T @ error + _DECAY * weights
        mean = 0.9 * mean + 0.1 * slope
        spread = 0.99 * spread + 0.01 * slope * slope
        weights -= _RATE * (mean / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.99**step)) + 1e-6)
        bias -= _BIAS_RATE * error.sum(axis=0)
    full = np.zeros((BUCKETS, organs), np.float32)
    full[used] = weights * _SCALE
    return full, bias


def held_out(reports: Sequence[Labelled]) -> Mapping[str, Verdict]:
    """Return how the rules alone and the rules with the model open packages, each fold by a model of the others."""
    folds = [hashlib.sha256(report.patient.encode()).digest()[0] % FOLDS for report in reports]
    opened: dict[str, list[tuple[str, tuple[str, ...]]]] = {"rules": [], "rules and model": []}
    for fold in range(FOLDS):
        model = train([report for report, own in zip(reports, folds, strict=True) if own != fold], "fold")
        for report in (report for report, own in zip(reports, folds, strict=True) if own == fold):
            reading = Reading(report.text, "en")
            named = rank(reading)
            opened["rules"].append((report.organ, settle(named, None)))
            opened["rules and model"].append((report.organ, settle(named, model.shares(reading.text))))
    return {name: _verdict(cases) for name, cases in opened.items()}


def _verdict(cases: Iterable[tuple[str, tuple[str, ...]]]) -> Verdict:
    right = missed = extra = 0
    for organ, found in cases:
        wanted = {organ} & packages()
        got = set(found) & packages()
        right += got == wanted
        missed += bool(wanted - got)
        extra += bool(got - wanted)
    return Verdict(right, missed, extra)


def report_lines(verdicts: Mapping[str, Verdict], number: int) -> Iterator[str]:
    """Yield what `held_out` found, for people."""
    for name, verdict in verdicts.items():
        yield (
            f"{name}: the right packages on {verdict.right} of {number} reports, "
            f"a package missed on {verdict.missed}, one too many on {verdict.extra}"
        )

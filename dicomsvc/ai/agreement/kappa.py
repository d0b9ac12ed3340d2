"""Percent agreement, Cohen's kappa and Fleiss' kappa, with intervals by drawing the units anew.

Cohen, Educational and Psychological Measurement 20 (1960) 37-46; weighted: Psychological Bulletin 70 (1968) 213-220;
Fleiss, Psychological Bulletin 76 (1971) 378-382. A kappa is not defined where chance alone would give full agreement
(everybody says the same of everything): it is NaN then.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import BadRequest

Ratings = npt.NDArray[np.int64]
"""``(units, raters)``: the category, from 0 on, that each rater gave; -1 where one gave none."""
Groups = npt.NDArray[np.int64]
Counts = npt.NDArray[np.float64]
NONE: Final = -1
RESAMPLES: Final = 2000


class Weights(StrEnum):
    """How much disagreement counts by how far apart two categories are, which are in order then."""

    NONE = "none"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


@dataclass(frozen=True, slots=True)
class Agreement:
    """A measure with its 95 % interval; ``units`` is what it is made of. NaN where it is not defined."""

    value: float
    low: float
    high: float
    units: int


def percent_agreement(
    ratings: Ratings, groups: Groups | None = None, often: Counts | None = None, seed: int = 0
) -> Agreement:
    """Return the share of pairs of ratings of the same unit that are the same; see `fleiss_kappa`."""
    return _with_interval(ratings, groups, often, _observed, seed)


def fleiss_kappa(
    ratings: Ratings, groups: Groups | None = None, often: Counts | None = None, seed: int = 0
) -> Agreement:
    """Return Fleiss' kappa.

    Units with fewer than two ratings are left out. Where units have different numbers of ratings, each unit's
    agreement is that of its own pairs, and all ratings make the shares of the categories. ``groups`` ``(units,)``: for
    units that are not independent, as the pixels of one picture, the number of what is drawn anew instead of them.
    ``often``: how many units have these ratings, 1 unless given.
    """
    return _with_interval(ratings, groups, often, _fleiss, seed)


def cohen_kappa(one: Ratings, other: Ratings, weights: Weights = Weights.NONE, seed: int = 0) -> Agreement:
    """Return Cohen's kappa of two raters over the units that both rated.

    Raises
    ------
    BadRequest
        When they did not rate the same number of units.
    """
    if one.shape != other.shape:
        raise BadRequest("two raters' ratings are of the same units")
    both = (one >= 0) & (other >= 0)
    categories = int(max(one.max(initial=0), other.max(initial=0))) + 1
    return cohen_from_table(confusion(one[both], other[both], categories), weights, seed)


def confusion(one: Ratings, other: Ratings, categories: int) -> Counts:
    """Return how often one rater said the row's category where the other said the column's."""
    joint = np.bincount(one * categories + other, minlength=categories * categories)
    return joint.reshape(categories, categories).astype(np.float64)


def cohen_from_table(table: Counts, weights: Weights = Weights.NONE, seed: int = 0) -> Agreement:
    """Return Cohen's kappa of a table of counts; units are drawn anew from the table."""
    units = int(table.sum())
    if not units:
        return _undefined()
    # To draw n units anew is to draw a table with the same shares.
    again = np.random.default_rng(seed).multinomial(units, table.ravel() / units, RESAMPLES)
    return _interval(
        _cohen(table[np.newaxis], weights)[0],
        _cohen(again.reshape(-1, *table.shape).astype(np.float64), weights),
        units,
    )


def cohen_by_group(tables: Counts, weights: Weights = Weights.NONE, seed: int = 0) -> Agreement:
    """Return Cohen's kappa over all of several tables, ``(groups, categories, categories)``; groups are drawn anew.

    For units that are not independent: the pixels of one picture.
    """
    if not tables.sum():
        return _undefined()
    drawn = _times_drawn(len(tables), seed)
    again = np.einsum("rg,gij->rij", drawn, tables)
    whole = _cohen(tables.sum(axis=0, keepdims=True), weights)[0]
    return _interval(whole, _cohen(again, weights), int(tables.sum()), len(tables))


def category_counts(ratings: Ratings, categories: int | None = None) -> Counts:
    """Return how many raters chose each category for each unit, ``(units, categories)``."""
    wanted = int(ratings.max(initial=0)) + 1 if categories is None else categories
    return np.stack([(ratings == category).sum(axis=1) for category in range(wanted)], axis=1).astype(np.float64)


def _unit_agreement(counts: Counts) -> Counts:
    each = counts.sum(axis=-1)
    return np.asarray((np.square(counts).sum(axis=-1) - each) / (each * (each - 1)))


def _observed(counts: Counts, drawn: Counts) -> Counts:
    return np.asarray(drawn @ _unit_agreement(counts) / drawn.sum(axis=1))


def _fleiss(counts: Counts, drawn: Counts) -> Counts:
    totals = drawn @ counts
    expected = np.square(totals / totals.sum(axis=1, keepdims=True)).sum(axis=1)
    return _beyond_chance(_observed(counts, drawn), expected)


def _cohen(tables: Counts, weights: Weights) -> Counts:
    """Return kappa of each of several tables of counts."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    apart = np.abs(np.subtract.outer(np.arange(tables.shape[1]), np.arange(tables.shape[1]))).astype(np.float64)
    if weights is Weights.NONE:
        apart = (apart > 0).astype(np.float64)
    elif weights is Weights.QUADRATIC:
        apart = np.square(apart)
    expected = np.einsum("ri,rj,ij->r", shares.sum(axis=2), shares.sum(axis=1), apart)
    return _beyond_chance(1 - np.einsum("rij,ij->r", shares, apart), 1 - expected)


def _beyond_chance(observed: Counts, expected: Counts) -> Counts:
    undefined = np.isclose(expected, 1.0, rtol=0, atol=1e-12)
    return np.where(undefined, np.nan, (observed - expected) / np.where(undefined, 1.0, 1 - expected))


def _with_interval(
    ratings: Ratings,
    groups: Groups | None,
    often: Counts | None,
    measure: Callable[[Counts, Counts], Counts],
    seed: int,
) -> Agreement:
    if ratings.ndim != 2 or ratings.shape[1] < 2:
        raise BadRequest("agreement is of at least two raters")
    enough = (ratings >= 0).sum(axis=1) >= 2
    counts = category_counts(ratings[enough])
    if not len(counts):
        return _undefined()
    names: Groups = np.zeros(1, np.int64)
    each = np.ones(len(counts)) if often is None else often[enough]
    units = int(each.sum())
    # Units with the same counts are the same: a table of how often each kind occurs is as good, and much smaller.
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    total = np.bincount(kind.ravel(), each, len(kinds)).astype(np.float64)
    if groups is None:
        again = np.random.default_rng(seed).multinomial(units, total / units, RESAMPLES).astype(np.float64)
    else:
        names, group = np.unique(groups[enough], return_inverse=True)
        table = np.bincount(group * len(kinds) + kind.ravel(), each, len(names) * len(kinds))
        again = _times_drawn(len(names), seed) @ table.reshape(-1, len(kinds))
    drawn = None if groups is None else len(names)
    return _interval(measure(kinds, total[np.newaxis])[0], measure(kinds, again), units, drawn)


def _times_drawn(groups: int, seed: int) -> Counts:
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), RESAMPLES).astype(np.float64)


def _interval(value: float, again: Counts, units: int, groups: int | None = None) -> Agreement:
    # Of a single group there is nothing to draw anew.
    defined = again[np.isfinite(again)] if groups is None or groups > 1 else again[:0]
    if not len(defined) or not np.isfinite(value):
        return Agreement(float(value), np.nan, np.nan, units)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Agreement(float(value), float(low), float(high), units)


def _undefined() -> Agreement:
    return Agreement(np.nan, np.nan, np.nan, 0)

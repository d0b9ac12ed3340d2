"""Which organs a report is about: which packages of fields are looked for.

Two voices: the words that name organs, weighed by section (``text/organs.toml``), and for English a trained classifier
over all words (`dicomsvc.reports.organ_model`). The words choose; the classifier strikes what they name in passing (the
skin over a breast, the prostate with a bladder) and adds what they name too seldom.
"""

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from re import Pattern

from dicomsvc.reports.organ_model import organ_model
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import alternatives, searcher

SHARE = 0.45
"""An organ belongs to the report when it is named at least this often as the one named most."""
UNLIKELY, LIKELY = 0.06, 0.5
"""Below the one, the classifier strikes an organ; from the other on it adds one."""
SURE, MENTIONED = 0.6, 0.1
"""An organ with this share of all mentions is not struck; one named less, beside the most named, is not added."""


@cache
def _document() -> Mapping[str, Mapping[str, list[str]]]:
    return tomllib.loads((files("dicomsvc.reports.text") / "organs.toml").read_text(encoding="utf-8"))


@cache
def _words(language: str) -> Pattern[str]:
    return searcher("|".join(alternatives(words[language]) for words in _document().values()))


@cache
def _organs(language: str) -> Mapping[str, Pattern[str]]:
    return {organ: searcher(f"^(?:{alternatives(words[language])})") for organ, words in _document().items()}


@lru_cache(maxsize=4096)
def _organ_of(mention: str, language: str) -> str:
    return next(organ for organ, pattern in _organs(language).items() if pattern.match(mention))


@cache
def packages() -> frozenset[str]:
    """Return the organs that have fields of their own."""
    return frozenset(organ for organ, words in _document().items() if words.get("package", True))


def find_organs(reading: Reading) -> tuple[str, ...]:
    """Return the organs of the report, the likeliest first."""
    shares = organ_model().shares(reading.text) if reading.language == "en" else None
    return settle(rank(reading), shares)


def rank(reading: Reading) -> Mapping[str, float]:
    """Return how often the report names each organ, each mention weighed by its section."""
    named = dict.fromkeys(_document(), 0.0)
    for match in _words(reading.language).finditer(reading.text):
        named[_organ_of(match.group(), reading.language)] += reading.weight_at(match.start()) ** 2
    return named


def settle(named: Mapping[str, float], shares: Mapping[str, float] | None) -> tuple[str, ...]:
    """Return the organs by their mentions and, where given, by the classifier's shares."""
    most, total = max(named.values(), default=0.0), sum(named.values())
    ranked = sorted(named, key=lambda organ: -named[organ])
    chosen = [organ for organ in ranked if most and named[organ] >= SHARE * most]
    if shares is None:
        return tuple(chosen)
    kept = [organ for organ in chosen if shares.get(organ, 0.0) >= UNLIKELY or named[organ] >= SURE * total]
    likeliest = max(shares, key=lambda organ: shares[organ])
    if shares[likeliest] >= LIKELY and likeliest not in kept and named.get(likeliest, 0.0) >= MENTIONED * most > 0:
        kept.append(likeliest)
    return tuple(kept or chosen)

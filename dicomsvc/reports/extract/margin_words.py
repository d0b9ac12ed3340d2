"""The language of margins as patterns: ``margins.toml`` compiled, once a language."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion


@dataclass(frozen=True, slots=True)
class MarginWords:
    """What each pattern is for stands in the table; all but ``noun`` and ``whole`` are for short stretches."""

    noun: re.Pattern[str]
    whole: Mapping[Assertion, re.Pattern[str]]
    decides: re.Pattern[str]
    question: re.Pattern[str]
    answered: re.Pattern[str]
    before: Mapping[Assertion, re.Pattern[str]]
    denies: re.Pattern[str]
    subject: re.Pattern[str]
    distance: re.Pattern[str]
    invasive: re.Pattern[str]
    in_situ: re.Pattern[str]
    harmless: re.Pattern[str]
    idle: re.Pattern[str]
    own_label: re.Pattern[str]
    unfinished: re.Pattern[str]
    goes_on: re.Pattern[str]
    closest: re.Pattern[str]
    all: re.Pattern[str]
    name: re.Pattern[str]
    names_before: re.Pattern[str]
    listed: re.Pattern[str]


@cache
def margin_words(language: str) -> MarginWords:
    """Return the patterns for ``en``, or for ``zh`` with the English words that Chinese reports use too."""
    table = tomllib.loads((files("dicomsvc.reports.extract") / "margins.toml").read_text(encoding="utf-8"))
    codes = ("zh", "en") if language == "zh" else ("en",)

    def words(entry: Mapping[str, Any]) -> str:
        return "|".join(entry[code] for code in codes if code in entry)

    decides = "|".join(f"(?P<{name}>{words(table['decides'][name])})" for name in ("none", "absent", "present"))
    bound = r"\b" if language == "en" else ""
    names = "|".join(f"(?P<{name}>{bound}(?:{words(entry)}){bound})" for name, entry in table["name"].items())
    unnamed = re.sub(r"\?P<\w+>", "?:", names)
    # Atomic: names that contain one another must not be tried in all combinations.
    run = rf"(?>(?:{unnamed}|{bound}(?:{words(table['filler'])}){bound})[\s,./&、()\-]*)++"
    plain = ("denies", "subject", "distance", "invasive", "in_situ", "harmless", "idle", "own_label", "unfinished")
    return MarginWords(
        noun=compiled(wording for code in codes for wording in table["noun"][code]),
        whole={
            state: compiled(wording for code in codes for wording in table["whole"][state][code])
            for state in (Assertion.ABSENT, Assertion.PRESENT)
        },
        decides=re.compile(decides),
        question=re.compile(words(table["question"])),
        answered=re.compile(words(table["answered"])),
        before={state: re.compile(words(table["before"][state])) for state in (Assertion.ABSENT, Assertion.PRESENT)},
        name=re.compile(names),
        names_before=re.compile(rf"{run}$"),
        listed=re.compile(
            rf"[\s.,;\-*]*(?P<names>{run})(?:margins? ?)?(?:\([^()]{{0,30}}\) ?)?[:=\-][\s.]*"
            r"(?P<body>[^:;；]{2,90})"
        ),
        **{key: re.compile(words(table[key])) for key in (*plain, "goes_on", "closest", "all")},
    )

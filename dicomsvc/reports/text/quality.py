"""Whether a text can be read as a report, and in which language.

What cannot be read is refused with a reason: a field found in garbage is a guess. The score is the share of words that
are words (English), or of characters in common use (Chinese).
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from string import ascii_lowercase
from typing import Any

from dicomsvc.reports.values import Quality

LONGEST = 100_000
"""Characters; a longer text is no report."""
FEWEST = 8
"""Letters, a Chinese character for three; fewer tell nothing."""
TERSE = 60
"""Letters; fewer may all be of abbreviations ("ER 95%, PR 20%, HER2 1+") and are read whatever their score."""
SAMPLE = 20_000
"""How many characters are judged; what begins as a report is one."""
READABLE = 0.65
"""The least score that is read. Of 1,229 scanned reports that people could read the least has 0.78; with a fifth of the
letters wrong half of them are below 0.7, with three tenths all below 0.65."""
COMMON = 0.75
"""The least share of Chinese characters that are in common use; of text after a wrong charset it is about a half."""
_OTHER_SHARE = 0.1
"""A language is told by at least this share of its frequent words."""

_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_HAN = re.compile(r"[\u3400-\u9fff]")
_HAN_MARKS = re.compile(r"[，。；：、（）【】]")
"""Marks of Chinese typesetting: a list of stains has more of them than of characters."""
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "ja": re.compile(r"[\u3041-\u30fa]"),
    "ko": re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "ar": re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
    "hi": re.compile(r"[\u0900-\u0dff]"),
}
_WORD = re.compile(r"[a-z\u00df-\u024f\u1e00-\u1eff]+")
_VOWEL = re.compile(r"[aeiouyà-öø-ÿ]")
_UNLIKELY = re.compile(
    r"[bcdfghjklmnpqrstvwxz]{5}|[aeiou]{4}|q[^u]|j[^aeiou]|[vwxz]{2}|([a-z])\1\1|[fhk]x|x[bdgjkr]|^[a-z]*[bcdfgjkpqvwx]{4}"
)
"""Letters in a row that English and medical Latin hardly have."""


@cache
def _document() -> Mapping[str, Any]:
    return tomllib.loads((files("dicomsvc.reports.text") / "languages.toml").read_text(encoding="utf-8"))


@cache
def _frequent(language: str) -> frozenset[str]:
    return frozenset(_document()["words"][language])


def judged(text: str) -> Quality:
    """Return how far ``text`` can be read; ``structured`` False with a reason when fields would be guesses."""
    if len(text) > LONGEST:
        return Quality(0.0, "und", False, f"longer than {LONGEST} characters")
    sample = text[:SAMPLE]
    if sample.isascii():
        latin, han = sum(map(sample.lower().count, ascii_lowercase)), 0
    else:
        latin, han = len(_LATIN.findall(sample)), len(_HAN.findall(sample))
    if other := _script(sample, latin, han):
        return _foreign(other)
    if latin + 3 * han < FEWEST:
        return Quality(0.0, "und", False, "hardly any letters")
    marks = len(_HAN_MARKS.findall(sample)) if han else 0
    return _chinese(sample) if (han + marks) * 4 > latin else _latin(sample.lower())


def _script(sample: str, latin: int, han: int) -> str | None:
    """Return the language of a script other than Latin and Chinese that a quarter of the letters are of."""
    if sample.isascii():
        return None
    counts = {language: len(letters.findall(sample)) for language, letters in _SCRIPTS.items()}
    language = max(counts, key=lambda name: counts[name])
    # Japanese is written in Chinese characters with kana between them; a Chinese report has none.
    least = 0.1 if language == "ja" else 0.25
    letters = latin + han + sum(counts.values())
    return language if counts[language] >= max(5, least * letters) else None


def _foreign(language: str) -> Quality:
    name = _document()["names"][language]
    return Quality(0.0, language, False, f"written in {name}; English and Chinese are read")


def _chinese(sample: str) -> Quality:
    score = round(common_share(sample), 3)
    if score < COMMON:
        return Quality(score, "zh", False, "unreadable: characters that Chinese hardly has, as after a wrong charset")
    return Quality(score, "zh", True)


def common_share(text: str) -> float:
    """Return the share of the Chinese characters in ``text`` that are in common use."""
    characters = _HAN.findall(text)
    return sum(map(_common, characters)) / len(characters) if characters else 0.0


@lru_cache(maxsize=1 << 15)
def _common(character: str) -> bool:
    """Whether a Chinese character is of the first level of GB 2312 or of Big5: those in common use."""
    for charset, first, last in (("gb2312", 0xB0A1, 0xD7F9), ("big5", 0xA440, 0xC67E)):
        try:
            code = int.from_bytes(character.encode(charset), "big")
        except UnicodeEncodeError:
            continue
        if first <= code <= last:
            return True
    return False


def _latin(sample: str) -> Quality:
    words = _WORD.findall(sample)
    counted = Counter(words)
    shares = {
        language: sum(counted[word] for word in _frequent(language)) / len(words) for language in _document()["words"]
    }
    language = max(shares, key=lambda name: shares[name])
    told = sum(word in counted for word in _frequent(language))
    if language != "en" and told >= 3 and shares[language] >= _OTHER_SHARE and shares[language] > 1.6 * shares["en"]:
        return _foreign(language)
    score = round(_likely(sample, counted), 3)
    terse = sum(map(len, words)) < TERSE and len(sample.encode("ascii", "ignore")) > 0.9 * len(sample)
    if score < READABLE and not terse:
        return Quality(score, "en", False, "unreadable: too few of its words are words, as after a poor scan")
    return Quality(score, "en", True)


def _likely(sample: str, counted: Counter[str]) -> float:
    """Return the share of letters that stand in words: long enough, with vowels, without unlikely rows of letters."""
    letters = sum(len(word) * count for word, count in counted.items())
    good = sum(len(word) * count for word, count in counted.items() if _is_word(word))
    marks = len(sample) - letters - sum(sample.count(mark) for mark in " \n\r\t0123456789.,:;()-/'\"%+*#_=")
    return max(0.0, good / letters - 2 * max(0.0, marks / len(sample) - 0.03)) if letters else 0.0


@lru_cache(maxsize=1 << 16)
def _is_word(word: str) -> bool:
    if word in _frequent("en"):
        return True
    return len(word) > 3 and _VOWEL.search(word) is not None and _UNLIKELY.search(word) is None

"""Whether a text can be read as a report, and in which language."""

import re

from dicomsvc.reports.values import Quality

LONGEST = 400_000
"""Characters; a longer text is no report."""
_LATIN = re.compile(r"[A-Za-z]")
_HAN = re.compile(r"[\u3400-\u9fff]")


def judged(text: str) -> Quality:
    """Return how far ``text`` can be read; ``structured`` False with a reason when fields would be guesses."""
    if len(text) > LONGEST:
        return Quality(0.0, "und", False, f"longer than {LONGEST} characters")
    letters = len(_LATIN.findall(text))
    han = len(_HAN.findall(text))
    if letters + han < 20:
        return Quality(0.0, "und", False, "hardly any letters")
    return Quality(1.0, "zh" if han * 4 > letters else "en", True)

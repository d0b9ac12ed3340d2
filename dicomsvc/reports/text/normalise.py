"""Normalisation that keeps the length: character for character, so that offsets hold in the original."""

import unicodedata
from functools import cache

from dicomsvc.reports.text.traditional import SIMPLIFIED

_SAME = str.maketrans(
    {
        **dict.fromkeys(map(chr, (*range(32), *range(127, 160))), " "),
        **dict.fromkeys(map(chr, range(0xD800, 0xE000)), " "),
        **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200b\u3000\ufeff\u2028\u2029", " "),
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
        **dict.fromkeys("‘’‛′`´", "'"),
        **dict.fromkeys("“”„″", '"'),
        **SIMPLIFIED,
        **dict.fromkeys("◆◇★", ";"),
        **dict.fromkeys("×✕✖╳", "x"),
        "•": "*",
        "·": "*",
        "�": " ",
    }
)


def normalised(text: str) -> str:
    """Return ``text`` in lower case, narrow forms and plain punctuation, of the same length.

    Full-width letters, digits and punctuation of Chinese typesetting become ASCII; Chinese full stops stay, and
    traditional characters become simplified ones.
    """
    return "".join(map(_lowered, text.translate(_SAME))) if not text.isascii() else text.translate(_SAME).lower()


@cache
def _lowered(character: str) -> str:
    narrow = unicodedata.normalize("NFKC", character) if "\uff01" <= character <= "\uff5e" else character
    small = narrow.lower()
    return small if len(small) == 1 else narrow

"""Python's codecs for the names of character sets that senders of text give, whatever the protocol.

Only sets of text are known, by any of their names. Python has more codecs: some are no character sets, and some take
time by the square of the length.
"""

import codecs
from typing import Final

_KNOWN: Final = (
    "ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030", "gbk", "gb2312", "hz", "big5",
    "big5hkscs", "euc_kr", "cp949", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "iso2022_jp_2", "koi8-r",
    *(f"iso8859-{part}" for part in range(1, 17)), *(f"cp125{number}" for number in range(9)),
)  # fmt: skip
# What says to be of an older Chinese set is often of the younger one that holds it.
_WIDER: Final = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "ascii": "utf-8"}


def codec_named(charset: str) -> str | None:
    """Return Python's codec for the character set, None where it is not known here."""
    try:
        name = codecs.lookup(charset.strip()[:40]).name
    except (LookupError, ValueError):
        return None
    return _WIDER.get(name, name) if name in _KNOWN else None

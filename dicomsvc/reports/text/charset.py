"""Bytes to text: which character set it is where the sender names none."""

from typing import Final

from dicomsvc.reports.text.quality import common_share

_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_SAMPLE: Final = 4_000
"""How many bytes tell UTF-16 by its zeros."""
_MOSTLY_CHINESE: Final = 0.1
"""The least share of Chinese in a text of a Chinese set; single Western letters look like a character or two."""


def text_from(content: bytes) -> str:
    """Decode by the byte order mark, else as UTF-8, UTF-16, GB 18030 or Big5 where it fits, else as Windows-1252.

    Of the Chinese sets the one counts whose text has more characters in common use. Never raises; what no set can
    read becomes U+FFFD.
    """
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(marked, "replace")
    wide = _utf16(content)
    for charset in ("utf-8", *([wide] if wide else [])):
        if (text := _strictly(content, charset)) is not None:
            return text
    return _chinese(content) or content.decode("cp1252", "replace")


def _utf16(content: bytes) -> str | None:
    """Return which UTF-16 it is by the zeros at every other place, which no other text has."""
    sample = content[:_SAMPLE]
    half = max(1, len(sample) // 2)
    if sample[1::2].count(0) > 0.4 * half:
        return "utf-16-le"
    return "utf-16-be" if sample[0::2].count(0) > 0.4 * half else None


def _chinese(content: bytes) -> str | None:
    texts = [text for charset in ("gb18030", "big5hkscs") if (text := _strictly(content, charset)) is not None]
    best = max(texts, key=common_share, default=None)
    if best is None or common_share(best) < 0.5:
        return None
    chinese = sum("\u3400" <= character <= "\u9fff" for character in best)
    return best if chinese >= _MOSTLY_CHINESE * len(best) else None


def _strictly(content: bytes, charset: str) -> str | None:
    try:
        text = content.decode(charset)
    except UnicodeError:
        return None
    return None if charset == "utf-8" and text.count("\0") > 0.2 * len(text) else text

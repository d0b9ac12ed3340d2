"""The process that reads one PDF or RTF from standard input and writes its text as JSON; started by `attachment`.

Standard error stays unwritten: the libraries' warnings quote what they read.
"""

import json
import resource
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Final

_MEMORY_BYTES: Final = 2 << 30
_CPU_SECONDS: Final = 25
_MOST_PAGES: Final = 300
_LONGEST: Final = 2_000_000


class Refused(Exception):
    """Why a document is not read; the words go on after "the PDF"."""


def text_of_pdf(content: bytes) -> str:
    """Return the text layer, page after page.

    Raises
    ------
    Refused
        When there is none, or it may not be read.
    """
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("is encrypted")
    if len(reader.pages) > _MOST_PAGES:
        raise Refused(f"has more than {_MOST_PAGES} pages")
    pages: list[str] = []
    for page in reader.pages:
        pages.append(page.extract_text())
        if sum(map(len, pages)) > _LONGEST:
            raise Refused("has more text than a report has")
    text = "\n".join(pages)
    if not any(letter.isalnum() for letter in text):
        raise Refused("has no text layer, as a scanned page has none: send the text itself")
    return text


def text_of_rtf(content: bytes) -> str:
    """Return the text of an RTF document.

    Raises
    ------
    Refused
        When there is none.
    """
    from striprtf.striprtf import rtf_to_text

    # Bytes beyond ASCII are against the format's rules, but written by some in the document's code page.
    text = str(rtf_to_text("".join(chr(b) if b < 128 else f"\\'{b:02x}" for b in content), errors="replace"))  # type: ignore[no-untyped-call]
    if not any(letter.isalnum() for letter in text):
        raise Refused("has no text")
    if len(text) > _LONGEST:
        raise Refused("has more text than a report has")
    return text


_READERS: Final[dict[str, Callable[[bytes], str]]] = {"pdf": text_of_pdf, "rtf": text_of_rtf}


def main(kind: str) -> None:
    """Answer on standard output: ``{"text": …}`` or ``{"refused": why}``."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = sys.stdin.buffer.read()
    try:
        answer = {"text": _READERS[kind](content)}
    except Refused as why:
        answer = {"refused": str(why)}
    except MemoryError:
        answer = {"refused": "needs more memory than a report does"}
    except Exception:  # noqa: BLE001 - border: bytes of anybody
        # Its own words may quote the document.
        answer = {"refused": "is damaged"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])

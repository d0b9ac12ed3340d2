"""Text of the documents that reports come as: plain text, HTML, RTF, PDF with a text layer.

PDF and RTF are read in a process of their own (`dicomsvc.reports.attachment_process`) with bounds on time and memory:
whatever the bytes do there, the service goes on.
"""

import html
import json
import subprocess
import sys
from typing import Final

from dicomsvc.dicom.codecs import codec_named
from dicomsvc.errors import BadRequest, TooLarge, UnsupportedMediaType

LARGEST_BYTES: Final = 64 << 20
_SECONDS: Final = 30.0
_TAG = r"<!--[\s\S]*?-->|<(?:script|style)\b[\s\S]*?</(?:script|style)\s*>|</?[a-z!?][^<>]*>"
_BREAKING = ("br", "p", "div", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "pre", "section")
_PLAIN: Final = ("text/plain", "text/markdown", "")
_HTML: Final = ("text/html", "application/xhtml+xml")
_KINDS: Final = {"application/pdf": "pdf", "text/rtf": "rtf", "application/rtf": "rtf"}


def text_of(content: bytes, media_type: str, charset: str = "utf-8") -> str:
    """Return the text of a document; what its first bytes say goes before ``media_type``.

    Raises
    ------
    UnsupportedMediaType
        When documents of this type are not read.
    BadRequest
        When there is no text in it, or it cannot be read; the message says why.
    TooLarge
        When it is larger than `LARGEST_BYTES`.
    """
    if len(content) > LARGEST_BYTES:
        raise TooLarge(f"the document is larger than {LARGEST_BYTES >> 20} MB")
    media_type = media_type.partition(";")[0].strip().lower()
    kind = _recognised(content) or _KINDS.get(media_type)
    if kind is not None:
        return _apart(content, kind)
    if media_type in _HTML:
        return plain_text(decoded(content, charset))
    if media_type in _PLAIN:
        return decoded(content, charset)
    raise UnsupportedMediaType("a report comes as plain text, HTML, RTF or PDF with a text layer")


def plain_text(markup: str) -> str:
    """Return HTML without its tags; where a block ends, a line does."""
    from dicomsvc.reports.text.wording import searcher  # of the extra, and the service starts without it

    pieces, last = [], 0
    for match in searcher(f"(?i){_TAG}").finditer(markup):
        pieces.append(markup[last : match.start()])
        name = match.group()[1:12].strip("/ >").lower().partition(" ")[0]
        pieces.append("\n" if name in _BREAKING else "")
        last = match.end()
    pieces.append(markup[last:])
    lines = (" ".join(line.split()) for line in html.unescape("".join(pieces)).split("\n"))
    return "\n".join(line for line in lines if line)


def decoded(content: bytes, charset: str) -> str:
    """Decode text strictly, Unicode's byte order marks before ``charset``.

    Raises
    ------
    BadRequest
        When it is not in that character set.
    """
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if content.startswith(mark):
            content, charset = content[len(mark) :], name
            break
    codec = codec_named(charset)
    try:
        return content.decode(codec or "ascii")
    except UnicodeError:
        raise BadRequest("the text is not in the character set that it is said to be in") from None


def _recognised(content: bytes) -> str | None:
    start = content[:1024].lstrip()
    if start.startswith(b"{\\rtf"):
        return "rtf"
    return "pdf" if b"%PDF-" in content[:1024] else None


def _apart(content: bytes, kind: str) -> str:
    command = [sys.executable, "-m", "dicomsvc.reports.attachment_process", kind]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise BadRequest(f"the {kind.upper()} could not be read within {_SECONDS:.0f} seconds") from None
    except ValueError:
        raise BadRequest(f"the {kind.upper()} could not be read") from None
    if "refused" in answer:
        raise BadRequest(f"the {kind.upper()} {answer['refused']}")
    # RTF may hold halves of surrogate pairs, which no text file can.
    return str(answer["text"]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""What a walk over a data set carries along: where it is, and what the bytes there mean."""

from dataclasses import dataclass, field

from dicomsvc.dicom.charset import CharacterSet
from dicomsvc.dicom.encoding import Encoding
from dicomsvc.dicom.fragments import Fragments


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The pixel data element of the data set."""

    tag: int
    offset: int
    length: int
    fragments: Fragments | None


class Context:
    """What the meaning of an element's bytes depends on, with the texts already made under it."""

    __slots__ = ("charset", "encoding", "memo", "signed")

    def __init__(self, encoding: Encoding, charset: CharacterSet, signed: str) -> None:
        self.encoding = encoding
        self.charset = charset
        self.signed = signed
        self.memo: dict[bytes, str] = {}


@dataclass(slots=True)
class Scope:
    """The data set (depth 0) or item that is being walked."""

    context: Context
    depth: int = 0
    path: str = ""
    creators: dict[int, str] = field(default_factory=dict)

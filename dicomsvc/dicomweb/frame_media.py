"""In what forms frames can be served (PS3.18 8.7.3, 10.4.1.1.6), and which of them a client gets."""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.uid import ExplicitVRLittleEndian

from dicomsvc.dicom.uids import TransferSyntax
from dicomsvc.dicomweb.media_types import MediaType, choose, read_accept
from dicomsvc.wsi.codecs import can_decode

EXPLICIT: Final = str(ExplicitVRLittleEndian)
OCTETS: Final = "application/octet-stream"
_MAX_REMEMBERED: Final = 1024


class Representation:
    """A chosen form of frames, with the bytes that its responses are framed with made ready."""

    __slots__ = ("content_type", "media", "part_head", "transcoded")

    def __init__(self, media: MediaType, *, transcoded: bool) -> None:
        self.media = media
        self.transcoded = transcoded
        # Of a multipart body the boundary is to be added to both.
        self.content_type = media.content_type("").encode("latin-1")
        self.part_head = f"\r\nContent-Type: {media.part_content_type()}\r\n\r\n".encode("latin-1")


def frame_offers(syntax: TransferSyntax, *, single: bool) -> list[MediaType]:
    """Return the forms in which frames stored in ``syntax`` can be served, what we like best first."""
    offers = []
    for multipart in (True, False) if single else (True,):
        if syntax.encapsulated:
            offers.append(MediaType(syntax.media_type, multipart, syntax.uid))
            # Compressed frames are octets too, but without a named syntax octets are uncompressed (PS3.18 8.7.3.5.2).
            offers.append(MediaType(OCTETS, multipart, syntax.uid, only_if_named=True))
        if not syntax.encapsulated or can_decode(syntax.uid):
            offers.append(MediaType(OCTETS, multipart, EXPLICIT))
    return offers


class FrameNegotiation:
    """Chooses representations, and remembers what it chose: a viewer sends the same header with every tile."""

    def __init__(self) -> None:
        self._chosen: dict[tuple[bytes, bytes, str, bool], Representation] = {}

    def choose(self, scope: Mapping[str, Any], accept: bytes, syntax: TransferSyntax, single: bool) -> Representation:
        """Return the representation for a request whose Accept header is ``accept``.

        Raises
        ------
        NotAcceptable
        """
        key = (accept, scope["query_string"], syntax.uid, single)
        chosen = self._chosen.get(key)
        if chosen is None:
            media = choose(read_accept(scope), frame_offers(syntax, single=single))
            as_stored = media.transfer_syntax_uid == syntax.uid
            chosen = Representation(media, transcoded=not as_stored and (syntax.encapsulated or syntax.big_endian))
            if len(self._chosen) >= _MAX_REMEMBERED:
                self._chosen.clear()
            self._chosen[key] = chosen
        return chosen

"""Text beside pixels is found in every codec's form, and decoders see the same pixels afterwards."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from dicomsvc.deidentify.bitstreams import frame_patches
from dicomsvc.deidentify.icc import srgb, without_text
from dicomsvc.dicom.uids import JPEG_XL

MARKER = b"PATMARKER" * 3
SMOOTH = np.linspace(0, 255, 64 * 48, dtype=np.uint8).reshape(64, 48)
PIXELS = np.random.default_rng(1).integers(0, 255, (64, 48, 3), np.uint8)


def cleaned(syntax: str, frame: bytes) -> bytes:
    new = bytearray(frame)
    last = 0
    for patch in frame_patches(syntax, frame, 0, len(frame)):
        assert last <= patch.start < patch.end <= len(frame)
        new[patch.start : patch.end] = patch.bytes_between(patch.start, patch.end)
        last = patch.end
    assert len(new) == len(frame)
    return bytes(new)


def codestream_with_texts(frame: bytes) -> bytes:
    """Return a JPEG 2000 codestream with comments in the main header and in the first tile-part's, and text behind."""
    comment = b"\xff\x64" + struct.pack(">HH", len(MARKER) + 4, 1) + MARKER
    start = frame.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", frame, start + 6)
    header = bytearray(frame[start : start + 12])
    struct.pack_into(">I", header, 6, length + len(comment) if length else 0)
    return frame[:start] + comment + bytes(header) + comment + frame[start + 12 :] + MARKER


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_jpeg_2000_comments(syntax: str) -> None:
    frame = codestream_with_texts(imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k", reversible=True))
    assert frame.count(MARKER) == 3
    clean = cleaned(syntax, frame)
    assert MARKER not in clean and b"OpenJPEG" not in clean
    assert (imagecodecs.jpeg2k_decode(clean) == PIXELS).all()


def test_jpeg_2000_boxes() -> None:
    frame = imagecodecs.jpeg2k_encode(PIXELS, codecformat="jp2", reversible=True)
    boxes = b"".join(struct.pack(">I", len(MARKER) + 8) + kind + MARKER for kind in (b"xml ", b"uuid", b"PATM"))
    at = frame.index(b"jp2c") - 4
    clean = cleaned(JPEG2000Lossless, frame[:at] + boxes + frame[at:])
    assert MARKER not in clean and clean.count(b"free") == 3
    assert (imagecodecs.jpeg2k_decode(clean) == PIXELS).all()


def test_jpeg_ls_comments() -> None:
    frame = imagecodecs.jpegls_encode(SMOOTH)
    segments = b"".join(
        b"\xff" + code + struct.pack(">H", len(MARKER) + 2) + MARKER for code in (b"\xfe", b"\xe1", b"\xe8")
    )
    clean = cleaned(JPEGLSLossless, frame[:2] + segments + frame[2:] + MARKER)
    assert MARKER not in clean
    assert (imagecodecs.jpegls_decode(clean) == SMOOTH).all()


def test_jpeg_xl_boxes() -> None:
    frame = imagecodecs.jpegxl_encode(PIXELS, lossless=True, usecontainer=True)
    boxes = b"".join(struct.pack(">I", len(MARKER) + 8) + kind + MARKER for kind in (b"xml ", b"Exif", b"jumb"))
    clean = cleaned(JPEG_XL, frame + boxes)
    assert MARKER not in clean
    assert (imagecodecs.jpegxl_decode(clean) == PIXELS).all()


def test_jpeg_segments_between_scans_and_thumbnails() -> None:
    frame = imagecodecs.jpeg8_encode(PIXELS, level=90)
    jfif = b"\xff\xe0" + struct.pack(">H", 16 + 27) + b"JFIF\0\1\2\0\0\1\0\1\3\3" + MARKER
    scan = frame.rindex(b"\xff\xda")
    comment = b"\xff\xfe" + struct.pack(">H", len(MARKER) + 2) + MARKER
    marked = frame[:2] + jfif + frame[2:scan] + comment + frame[scan:]
    clean = cleaned(JPEGBaseline8Bit, marked)
    assert MARKER not in clean
    assert (imagecodecs.jpeg8_decode(clean) == imagecodecs.jpeg8_decode(frame)).all()


def test_a_jpeg_without_end_keeps_its_pixels_and_a_cut_comment_goes() -> None:
    frame = imagecodecs.jpeg8_encode(PIXELS)[:-2]
    assert cleaned(JPEGBaseline8Bit, frame) == frame
    assert MARKER not in cleaned(JPEGBaseline8Bit, frame + b"\xff\xfe\xff\xf0" + MARKER)


def test_a_frame_without_texts_is_not_touched() -> None:
    lossy = imagecodecs.jpeg8_encode(PIXELS)
    assert frame_patches(JPEGBaseline8Bit, lossy, 0, len(lossy)) == []
    lossless = imagecodecs.jpegls_encode(SMOOTH)
    assert cleaned(JPEGLSLossless, lossless) == lossless
    rle = struct.pack("<16I", 1, 64, *[0] * 14) + b"\0\1\2\0"
    assert cleaned(RLELossless, rle) == rle
    assert MARKER[:9] not in cleaned(RLELossless, rle[:20] + MARKER.ljust(44, b"\0") + rle[64:])


@given(
    st.sampled_from([JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless, JPEG_XL, RLELossless]), st.binary(max_size=300)
)
def test_broken_frames_give_patches_within_them(syntax: str, frame: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL \r\n\x87\n"):
        cleaned(syntax, start + frame)


def profile_with_texts() -> bytes:
    profile = bytearray(srgb())
    text = b"PATMARKER"
    for signature in (b"desc", b"cprt"):
        at = profile.index(signature, 128)
        offset, size = struct.unpack_from(">II", profile, at + 4)
        kind = bytes(profile[offset : offset + 4])
        assert kind == b"mluc" and size >= 28 + 18
        profile[offset + 28 : offset + 46] = text.decode().encode("utf-16-be")
    profile[48:56] = text[:8]
    profile[84:93] = text
    return bytes(profile)


def lab_of(profile: bytes) -> np.ndarray:
    lab, read = ImageCms.createProfile("LAB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(Image.fromarray(PIXELS), read, lab, outputMode="LAB")
    return np.asarray(converted)


def test_icc_profiles_lose_their_texts_and_keep_their_colours() -> None:
    marked = profile_with_texts()
    clean = without_text(marked)
    assert len(clean) == len(marked)
    for text in (b"PATMARK", "PATMARK".encode("utf-16-be")):
        assert text in marked and text not in clean
    before, after = (lab_of(profile) for profile in (marked, clean))
    assert (before == after).all()
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(clean))).strip() in ("", "None")


@given(st.binary(max_size=400))
def test_what_is_no_profile_becomes_srgb(junk: bytes) -> None:
    assert without_text(junk) == srgb()
    marked = junk[:36].ljust(36, b"\0") + b"acsp" + junk
    assert len(without_text(marked)) in (len(marked), len(srgb()))

"""Headers of compressed tiles are read as they are, and damaged ones refused."""

import imagecodecs
import numpy as np
import pytest

from dicomsvc.ingest.convert.bitstream import (
    ADOBE_RGB,
    BadStream,
    codestream_without_text,
    jpeg_colour,
    parse_jpeg,
    parse_jpeg2000,
    without_text,
)

IMAGE = np.arange(48 * 32 * 3, dtype=np.uint8).reshape(32, 48, 3)


def jpeg(**options: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(IMAGE, colorspace="RGB", **options))


def test_size_and_subsampling_of_a_jpeg_are_read() -> None:
    header = parse_jpeg(jpeg(outcolorspace="YCBCR", subsampling="420"))
    assert (header.columns, header.rows, header.bits, header.baseline) == (48, 32, 8, True)
    assert header.sampling == ((2, 2), (1, 1), (1, 1))
    assert header.subsampled


def test_a_marker_in_the_stream_goes_before_what_the_file_declares() -> None:
    assert jpeg_colour(parse_jpeg(jpeg(outcolorspace="YCBCR")), "rgb") == "ycbcr"
    assert jpeg_colour(parse_jpeg(jpeg(outcolorspace="RGB")), "ycbcr") == "rgb"


def test_without_any_marker_the_file_declares_the_colour() -> None:
    stream = jpeg(outcolorspace="YCBCR", subsampling="444")
    bare = stream[:2] + stream[20:]
    assert jpeg_colour(parse_jpeg(bare), "rgb") == "rgb"
    assert jpeg_colour(parse_jpeg(bare[:2] + ADOBE_RGB + bare[2:]), "ycbcr") == "rgb"


@pytest.mark.parametrize("end", [0, 1, 3, 20, 100])
def test_a_header_cut_short_is_refused(end: int) -> None:
    with pytest.raises(BadStream):
        parse_jpeg(jpeg()[:end])


def test_text_leaves_a_jpeg_header_and_its_pixels_stay() -> None:
    stream = jpeg(outcolorspace="RGB")
    note = b"\xff\xfe\x00\x0bMuster Er\xff\xe1\x00\x08Exif\0\0"
    noisy = stream[:2] + note + stream[2:]
    scan = noisy.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(noisy[scan + 2 : scan + 4], "big")
    clean = without_text(noisy[:end]) + noisy[end:]
    assert b"Muster" not in clean
    assert b"Exif" not in clean
    assert np.array_equal(imagecodecs.jpeg8_decode(clean), imagecodecs.jpeg8_decode(stream))


def test_transform_and_wavelet_of_a_codestream_are_read() -> None:
    header = parse_jpeg2000(bytes(imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", reversible=True, mct=True)))
    assert (header.columns, header.rows, header.bits) == (48, 32, (8, 8, 8))
    assert header.reversible
    assert header.component_transform
    assert not header.subsampled


def test_text_leaves_a_codestream_header() -> None:
    stream = bytes(imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", reversible=True))
    at = stream.index(b"\xff\x90")
    noisy = stream[:at] + b"\xff\x64\x00\x0a\x00\x01Muster" + stream[at:]
    assert b"Muster" not in codestream_without_text(noisy)


@pytest.mark.parametrize("data", [b"", b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x51\x00\x04\x00\x00\xff\x90\x00\x0a"])
def test_a_damaged_codestream_is_refused(data: bytes) -> None:
    with pytest.raises(BadStream):
        parse_jpeg2000(data)

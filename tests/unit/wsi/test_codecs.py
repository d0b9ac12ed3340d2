import contextlib
import struct
import time
from dataclasses import replace

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from dicomsvc.dicom.frames import PixelDescription
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DicomsvcError, NotAcceptable
from dicomsvc.wsi.codecs import can_decode, decode_frame, unpack_bits
from dicomsvc.wsi.frame_reader import cut_bits

RGB = PixelDescription(1, "1.2.840.10008.1.2.1", "7FE00010", 24, 32, 3, 8, 8, 0, 0, "RGB")
GREY = replace(RGB, samples_per_pixel=1, photometric_interpretation="MONOCHROME2")
COLOUR = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (24, 32, 1), np.uint16)


def rle(planes: list[bytes]) -> bytes:
    """Encode segments as literal runs."""
    segments = []
    for plane in planes:
        runs = (plane[start : start + 128] for start in range(0, len(plane), 128))
        segment = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets, position = [], 64
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize(
    ("syntax", "encoded"),
    [
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode(COLOUR, reversible=True)),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode(COLOUR)),
        ("1.2.840.10008.1.2.4.110", imagecodecs.jpegxl_encode(COLOUR, lossless=True)),
        ("1.2.840.10008.1.2.4.70", imagecodecs.jpeg8_encode(COLOUR, lossless=True)),
        ("1.2.840.10008.1.2.5", rle([COLOUR[:, :, i].tobytes() for i in range(3)])),
        ("1.2.840.10008.1.2.1", COLOUR.tobytes()),
    ],
)
def test_lossless_colour_comes_out_as_it_went_in(syntax: str, encoded: bytes) -> None:
    assert np.array_equal(decode_frame(encoded, replace(RGB, transfer_syntax_uid=syntax)), COLOUR)


@pytest.mark.parametrize(
    ("syntax", "encoded"),
    [
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode(DEEP[:, :, 0], reversible=True)),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode(DEEP[:, :, 0])),
        ("1.2.840.10008.1.2.4.70", imagecodecs.ljpeg_encode(DEEP[:, :, 0])),
        ("1.2.840.10008.1.2.5", rle([(DEEP >> 8).astype(np.uint8).tobytes(), DEEP.astype(np.uint8).tobytes()])),
        ("1.2.840.10008.1.2.2", DEEP.astype(">u2").tobytes()),
    ],
)
def test_sixteen_bits_come_out_as_they_went_in(syntax: str, encoded: bytes) -> None:
    description = replace(GREY, transfer_syntax_uid=syntax, bits_allocated=16, bits_stored=16)
    decoded = decode_frame(encoded, description)
    assert decoded.dtype == np.uint16 and np.array_equal(decoded, DEEP)


def test_planar_and_subsampled_native_colour() -> None:
    planar = replace(RGB, planar_configuration=1)
    assert np.array_equal(decode_frame(COLOUR.transpose(2, 0, 1).tobytes(), planar), COLOUR)
    grey = np.full((24, 16, 4), (90, 110, 128, 128), np.uint8)
    decoded = decode_frame(grey.tobytes(), replace(RGB, photometric_interpretation="YBR_FULL_422"))
    assert np.array_equal(decoded[0, :2], [[90] * 3, [110] * 3])


@pytest.mark.parametrize(
    "name", ["examples_ybr_color.dcm", "SC_rgb_rle_2frame.dcm", "examples_jpeg2k.dcm", "MR_small_jp2klossless.dcm"]
)
def test_files_of_others_decode_as_pydicom_decodes_them(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("not bundled with this pydicom")
    ds = pydicom.dcmread(path)
    frames = int(ds.get("NumberOfFrames", 1))
    encoded = next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=frames))
    description = PixelDescription(
        frames,
        str(ds.file_meta.TransferSyntaxUID),
        "7FE00010",
        ds.Rows,
        ds.Columns,
        ds.SamplesPerPixel,
        ds.BitsAllocated,
        ds.BitsStored,
        ds.PixelRepresentation,
        int(ds.get("PlanarConfiguration", 0)),
        ds.PhotometricInterpretation,
    )
    expected = ds.pixel_array[0] if frames > 1 else ds.pixel_array
    decoded = decode_frame(encoded, description).reshape(expected.shape)
    assert np.abs(decoded.astype(int) - expected.astype(int)).max() <= 2


def test_a_codestream_that_lies_about_its_size_is_refused_before_it_is_decoded() -> None:
    small = imagecodecs.jpeg2k_encode(COLOUR, reversible=True)
    at = small.index(b"\xff\x4f\xff\x51") + 8
    bomb = small[:at] + struct.pack(">II", 1 << 30, 1 << 30) + small[at + 8 :]
    jpeg = imagecodecs.jpeg8_encode(COLOUR)
    at = jpeg.index(b"\xff\xc0") + 5
    for syntax, data in (
        ("1.2.840.10008.1.2.4.90", bomb),
        ("1.2.840.10008.1.2.4.50", jpeg[:at] + b"\xff\xff\xff\xff" + jpeg[at + 4 :]),
    ):
        with pytest.raises(DicomsvcError, match="size"):
            decode_frame(data, replace(RGB, transfer_syntax_uid=syntax))


ENCODED = {
    "1.2.840.10008.1.2.4.50": imagecodecs.jpeg8_encode(COLOUR),
    "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(COLOUR, reversible=True),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(COLOUR),
    "1.2.840.10008.1.2.5": rle([COLOUR[:, :, i].tobytes() for i in range(3)]),
    "1.2.840.10008.1.2.1": COLOUR.tobytes(),
}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_mutated_frames_decode_or_are_named_damaged(syntax: str, data: st.DataObject) -> None:
    encoded = bytearray(ENCODED[syntax])
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for content in (bytes(encoded), bytes(encoded[:cut])):
        try:
            assert decode_frame(content, replace(RGB, transfer_syntax_uid=syntax)).shape == (24, 32, 3)
        except DicomsvcError:
            continue


def test_a_truncated_frame_is_refused_quickly() -> None:
    for syntax, encoded in ENCODED.items():
        start = time.perf_counter()
        for cut in range(0, len(encoded) - 3, 97):
            with contextlib.suppress(DicomsvcError):
                decode_frame(encoded[:cut], replace(RGB, transfer_syntax_uid=syntax))
        assert time.perf_counter() - start < 2


def test_what_has_no_decoder_is_not_acceptable() -> None:
    unknown = next(uid for uid in (*TRANSFER_SYNTAXES, "1.2.3") if not can_decode(uid))
    with pytest.raises(NotAcceptable):
        decode_frame(b"", replace(RGB, transfer_syntax_uid=unknown))


@given(st.binary(min_size=1, max_size=40), st.data())
def test_bits_are_cut_where_they_lie(content: bytes, data: st.DataObject) -> None:
    total = len(content) * 8
    start = data.draw(st.integers(0, min(7, total - 1)))
    length = data.draw(st.integers(1, total - start))
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[start : start + length]
    assert cut_bits(content, start, length) == np.packbits(bits, bitorder="little").tobytes()


def test_an_rle_segment_does_not_grow_beyond_its_plane() -> None:
    assert len(unpack_bits(b"\x81\x00" * 1000, 300)) == 300
    with pytest.raises(ValueError, match="short"):
        unpack_bits(b"\x81\x00", 300)

"""Untrusted bytes end in one of three errors or in an instance whose parts agree."""

import gzip
import json
import random
import time
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

from pydicom.data import get_testdata_file

from dicomsvc.dicom import FrameIndex, Instance, metadata_gzip, metadata_json, parse_instance
from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.errors import InvalidInstance, NotParseable, UnsupportedInstance

SEEDS = (
    "CT_small.dcm",
    "JPEG2000.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_rle_2frame.dcm",
    "examples_jpeg2k.dcm",
    "reportsi.dcm",
    "test-SR.dcm",
    "rtdose_rle.dcm",
)
MUTATIONS = 3600
INSERTS = (
    b"\xff\xff\xff\xff",
    b"\xff\xff",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"UN",
    b"SQ",
)


def _mutate(content: bytes, chance: random.Random) -> bytes:
    mutated = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        reach = min(len(mutated), 4000) if chance.random() < 0.8 else len(mutated)
        at = chance.randrange(120, reach) if reach > 130 else 0
        kind = chance.randrange(6)
        if kind == 0 and mutated:
            mutated[at] = chance.randrange(256)
        elif kind == 1:
            del mutated[at : at + chance.randrange(1, 30)]
        elif kind == 2:
            mutated[at:at] = chance.randbytes(chance.randrange(1, 20))
        elif kind == 3 and chance.random() < 0.3:
            del mutated[at:]
        elif kind == 4:
            insert = chance.choice(INSERTS)
            mutated[at : at + len(insert)] = insert
        else:
            source = chance.randrange(len(mutated) + 1)
            size = chance.randrange(200)
            mutated[at : at + size] = mutated[source : source + size]
    return bytes(mutated)


def _check(instance: Instance, size: int) -> None:
    url = 'http://host/"ü'
    whole = b"".join(metadata_json([(instance.metadata, url)]))
    assert gzip.decompress(b"".join(metadata_gzip([(instance.metadata, url)]))) == whole
    loaded = json.loads(whole)
    json.dumps(loaded, allow_nan=False, ensure_ascii=False).encode()
    ElementTree.fromstring(dataset_xml(loaded[0]))
    for place in instance.metadata.bulk.values():
        assert 0 < place.offset <= place.offset + place.length <= size
    if instance.frames is not None:
        assert FrameIndex.from_bytes(instance.frames.to_bytes()) == instance.frames
        for number in {1, instance.frames.number_of_frames}:
            assert all(0 < at <= at + length <= size for at, length in instance.frames.ranges(number))


def test_mutated_files_never_do_anything_but_parse_or_fail_cleanly(tmp_path: Path) -> None:
    originals = [Path(get_testdata_file(name)).read_bytes() for name in SEEDS]
    path = tmp_path / "mutated.dcm"
    parsed, slowest = 0, 0.0
    tracemalloc.start()
    try:
        for number in range(MUTATIONS):
            chance = random.Random(number)
            content = _mutate(chance.choice(originals), chance)
            path.write_bytes(content)
            tracemalloc.reset_peak()
            start = time.perf_counter()
            try:
                instance = parse_instance(path)
            except (NotParseable, InvalidInstance, UnsupportedInstance) as error:
                assert "cannot be parsed" not in str(error), f"mutation {number}: {error}"
            else:
                parsed += 1
                _check(instance, len(content))
            slowest = max(slowest, time.perf_counter() - start)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20, f"mutation {number}"
    finally:
        tracemalloc.stop()
    assert parsed > MUTATIONS // 20, "the mutations are too rough to reach deep"
    assert slowest < 5

import gzip
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.dicom import BulkRange, Metadata, metadata_dataset, metadata_gzip, metadata_json, parse_instance
from dicomsvc.dicom.crc import crc32_combine
from dicomsvc.dicom.json import CUT, MetadataBuilder
from dicomsvc.errors import DamagedFile

from .part10_bytes import SEQUENCE_END, UNDEFINED, element, encapsulated, image, item, part10, write

URL = "http://host/dicomweb/studies/1/series/2/instances/3"


def metadata_of(folder: Path, content: bytes) -> Metadata:
    return parse_instance(write(folder, content)).metadata


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_crcs_combine_to_the_crc_of_the_whole(first: bytes, second: bytes) -> None:
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_crcs_combine_over_great_lengths() -> None:
    zeros = bytes(1 << 20)
    crc = 0
    for _ in range(3):
        crc = crc32_combine(crc, zlib.crc32(zeros), len(zeros))
    assert crc == zlib.crc32(bytes(3 << 20))


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\0"), max_size=30), min_size=1, max_size=4), max_size=4
    ),
    st.text(max_size=40),
)
def test_the_spliced_gzip_member_is_the_json(instances: list[list[str]], url: str) -> None:
    items = []
    for texts in instances:
        builder = MetadataBuilder()
        for number, text in enumerate(texts):
            builder.write(f'"{number}":{{"text":{json.dumps(text)},"uri":"{CUT}/bulkdata/{number}"}},')
        items.append((builder.finish({}), url))
    whole = b"".join(metadata_json(items))
    assert gzip.decompress(b"".join(metadata_gzip(items))) == whole
    loaded = json.loads(whole)
    assert [[member["text"] for member in each.values()] for each in loaded] == instances
    for each in loaded:
        assert all(member["uri"] == f"{url}/bulkdata/{number}" for number, member in each.items())


def test_no_instances_are_an_empty_array() -> None:
    assert b"".join(metadata_json([])) == b"[]"
    assert gzip.decompress(b"".join(metadata_gzip([]))) == b"[]"


def test_bulk_values_have_a_uri_below_the_instance_and_a_range_of_the_file(tmp_path: Path) -> None:
    profile = bytes(range(200))
    optical = element(0x00480105, "SQ", item(element(0x00282000, "OB", profile)))
    pixels = element(0x7FE00010, "OB", b"abcd")
    content = part10(last=image() + optical + pixels)
    metadata = metadata_of(tmp_path, content)
    loaded = metadata_dataset(metadata, URL)
    assert loaded["00480105"]["Value"][0]["00282000"] == {
        "vr": "OB",
        "BulkDataURI": f"{URL}/bulkdata/00480105/1/00282000",
    }
    assert loaded["7FE00010"] == {"vr": "OB", "BulkDataURI": f"{URL}/bulkdata/7FE00010"}
    where = metadata.bulk["00480105/1/00282000"]
    assert content[where.offset : where.offset + where.length] == profile
    assert metadata.bulk["7FE00010"] == BulkRange(len(content) - 4, 4, "OB", False)


def test_an_encapsulated_bulk_value_reaches_from_its_first_item_to_its_delimiter(tmp_path: Path) -> None:
    content = part10(syntax="1.2.840.10008.1.2.5", last=image() + encapsulated([b"abcd"]))
    where = metadata_of(tmp_path, content).bulk["7FE00010"]
    assert where.encapsulated
    assert content[where.offset : where.offset + where.length] == item() + item(b"abcd") + bytes.fromhex(
        "feffdde000000000"
    )


@pytest.mark.parametrize(
    ("vr", "size", "key"), [("OB", 64, "InlineBinary"), ("OB", 66, "BulkDataURI"), ("OW", 2, "InlineBinary")]
)
def test_binary_values_are_inline_up_to_64_bytes(tmp_path: Path, vr: str, size: int, key: str) -> None:
    loaded = metadata_dataset(metadata_of(tmp_path, part10(last=element(0x00420011, vr, bytes(size)))), URL)
    assert set(loaded["00420011"]) == {"vr", key}


def test_long_text_becomes_bulk_data(tmp_path: Path) -> None:
    content = part10(last=element(0x0040A160, "UT", "x" * ((1 << 20) + 2)))
    metadata = metadata_of(tmp_path, content)
    assert metadata_dataset(metadata, URL)["0040A160"] == {"vr": "UT", "BulkDataURI": f"{URL}/bulkdata/0040A160"}


def test_the_stored_form_is_read_back(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, part10(last=image() + element(0x7FE00010, "OB", b"abcd")))
    again = Metadata.from_bytes(metadata.to_bytes())
    assert again == metadata
    assert again.bulk == metadata.bulk
    assert metadata_dataset(again, URL) == metadata_dataset(metadata, URL)


def test_a_damaged_stored_form_is_noticed(tmp_path: Path) -> None:
    stored = metadata_of(tmp_path, part10()).to_bytes()
    for blob in (b"", stored[:8], stored[:-1], stored + b"x", b"x" + stored[1:]):
        with pytest.raises(DamagedFile):
            Metadata.from_bytes(blob)


def test_many_items_leave_in_pieces_and_stay_one_json(tmp_path: Path) -> None:
    one = item(element(0x00080100, "SH", "code") + element(0x00420011, "OB", bytes(70)))
    items = b"".join(
        one if number % 1000 == 0 else item(element(0x00281050, "DS", str(number))) for number in range(40_000)
    )
    content = part10(last=element(0x0040A730, "SQ", items + SEQUENCE_END, UNDEFINED))
    metadata = metadata_of(tmp_path, content)
    loaded = metadata_dataset(metadata, URL)["0040A730"]["Value"]
    assert len(loaded) == 40_000
    assert loaded[39_999] == {"00281050": {"vr": "DS", "Value": [39_999]}}
    assert loaded[1000]["00420011"]["BulkDataURI"] == f"{URL}/bulkdata/0040A730/1001/00420011"
    assert gzip.decompress(b"".join(metadata_gzip([(metadata, URL)]))) == b"".join(metadata_json([(metadata, URL)]))

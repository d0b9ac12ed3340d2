"""pydicom reads the same values out of the same files."""

import base64
import math
import os
import warnings
from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_files

from dicomsvc.dicom import TRANSFER_SYNTAXES, BulkRange, metadata_dataset
from dicomsvc.dicom.attributes import AttributeCollector
from dicomsvc.dicom.elements import Walker
from dicomsvc.dicom.encoding import encoding_of
from dicomsvc.dicom.json import Metadata, MetadataBuilder
from dicomsvc.dicom.part10 import read_file_meta
from dicomsvc.errors import NotParseable

# Not what they say, or cut short: their refusal is tested elsewhere.
REFUSED = {
    "SC_rgb_jpeg.dcm",
    "rtplan_truncated.dcm",
    "MR_truncated.dcm",
    "DICOMDIR-nooffset",
    "meta_missing_tsyntax.dcm",
}


def _part10(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _files() -> list[Path]:
    bundled = [Path(name) for name in (*get_testdata_files(), *get_charset_files())]
    root = Path(os.environ.get("DICOMSVC_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    return sorted({path for path in (*bundled, *root.glob("dicom/**/*.dcm")) if _part10(path)})


def _walk(path: Path) -> tuple[Metadata, bytes]:
    """The metadata of any Part 10 file, also of one that the store would refuse for its UIDs."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        meta = read_file_meta(data)
        syntax = TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
        if syntax is None:
            pytest.skip("transfer syntax that is not kept")
        builder = MetadataBuilder()
        walker = Walker(data, file.fileno(), builder, AttributeCollector(), 1 << 28)
        walker.walk(meta.end, encoding_of(syntax))
        return builder.finish(walker.bulk), data[:]


def _plain(vr: str, values: list[Any]) -> list[Any]:
    """Values without the padding that pydicom keeps."""
    if vr == "PN":
        return [{key: text.strip() for key, text in (value or {}).items() if text.strip()} for value in values]
    plain = [value.replace("\0", "").strip(" ") or None if isinstance(value, str) else value for value in values]
    return [] if plain == [None] else plain


def _same(vr: str, ours: list[Any], theirs: list[Any]) -> bool:
    if vr not in ("DS", "FL", "FD") or len(ours) != len(theirs):
        return ours == theirs
    return all(
        one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-12))
        for one, other in zip(ours, theirs, strict=True)
    )


def _compare(
    ours: dict[str, Any], theirs: dict[str, Any], path: str, content: bytes, bulk: Mapping[str, BulkRange]
) -> None:
    for tag, other in theirs.items():
        where = f"{path}{tag}"
        if tag.endswith("0000"):
            continue
        one = ours[tag]
        assert one["vr"] == other["vr"], where
        if one["vr"] == "SQ":
            items = one.get("Value", [])
            assert len(items) == len(other.get("Value", [])), where
            for number, (mine, its) in enumerate(zip(items, other.get("Value", []), strict=True), 1):
                _compare(mine, its, f"{where}/{number}/", content, bulk)
        elif "BulkDataURI" in one:
            place = bulk[where]
            raw = content[place.offset : place.offset + place.length]
            expected = base64.b64decode(other["InlineBinary"])
            # pydicom leaves the Sequence Delimitation Item out.
            assert raw[: len(expected)] == expected, where
            assert len(raw) - len(expected) == (8 if place.encapsulated else 0), where
        elif "InlineBinary" in one or "InlineBinary" in other:
            assert one.get("InlineBinary") == other.get("InlineBinary"), where
        else:
            vr = one["vr"]
            assert _same(vr, _plain(vr, one.get("Value", [])), _plain(vr, other.get("Value", []))), where


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.name)
def test_pydicom_reads_the_same(path: Path) -> None:
    if path.name in REFUSED:
        with pytest.raises(NotParseable):
            _walk(path)
        return
    metadata, content = _walk(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pydicom itself leaves out what it cannot convert.
        theirs = pydicom.dcmread(path).to_json_dict(suppress_invalid_tags=True)
    ours = metadata_dataset(metadata, "")
    assert ours
    _compare(ours, theirs, "", content, metadata.bulk)

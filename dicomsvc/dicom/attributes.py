"""The top level attributes of an instance that an index keeps beside the compressed metadata."""

import json
from typing import Any, Final

from dicomsvc.dicom.json import CUT

ELEMENT_LIMIT: Final = 1 << 20
TOTAL_LIMIT: Final = 8 << 20
_SMALL = 4096
_PER_FRAME_FUNCTIONAL_GROUPS = 0x52009230


class AttributeCollector:
    """Collects DICOM JSON text of top level elements.

    Left out: per-frame functional groups, bulk data, an element whose text is over `ELEMENT_LIMIT`, and, once all
    texts are over `TOTAL_LIMIT`, all but the smallest.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._size = 0

    def add(self, tag: int, text: str) -> None:
        """Take a finished element, a comma behind it; `tag` may be 0 for one without special rules."""
        size = len(text)
        if tag == _PER_FRAME_FUNCTIONAL_GROUPS or size > ELEMENT_LIMIT:
            return
        if self._size + size > TOTAL_LIMIT and (size > _SMALL or self._size > 4 * TOTAL_LIMIT):
            return
        self._size += size
        self._texts.append(text)

    def load(self) -> dict[str, dict[str, Any]]:
        """Return the collected elements as one DICOM JSON object."""
        text = "".join(self._texts)
        has_bulk = CUT in text
        raw = text.replace(CUT, "").encode("utf-8", "replace")
        loaded: dict[str, dict[str, Any]] = json.loads(b"{" + raw[:-1] + b"}")
        return _without_bulk(loaded) if has_bulk else loaded


def _without_bulk(dataset: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kept = {}
    for tag, element in dataset.items():
        if "BulkDataURI" in element:
            continue
        if element["vr"] == "SQ" and "Value" in element:
            element = {"vr": "SQ", "Value": [_without_bulk(item) for item in element["Value"]]}
        kept[tag] = element
    return kept

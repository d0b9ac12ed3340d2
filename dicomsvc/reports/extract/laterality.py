"""The side of the primary tumour: of the sides that a report names, the one whose part holds the tumour.

A case has parts of both sides (a prophylactic mastectomy, the other side's biopsy, nodes): a side counts fully where
its part tells of carcinoma, less where the part is benign or a lymph node's.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.extract.choice import find_choice
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.parts import Part
from dicomsvc.reports.values import Assertion, FieldValue

RULE = "laterality/1"
STATED, HOLDS, LACKS = 1.0, 0.97, 0.7
"""Confidence of the answer to "Laterality:", of a part with tumour, of one without."""
REACH = 300
"""How far into a part the tumour is looked for, in characters."""
_LABEL = re.compile(r"laterality[\s:.\-]{1,4}$")
_TUMOUR = re.compile(r"carcinoma(?!(?: |\W{1,3})in[- ]situ)|melanoma|sarcoma|malignant (?:neoplasm|tumou?r)|oncocytoma")
_NODE = re.compile(r"\b(?:lymph nodes?|nodes?|axilla\w*)\b")


def find_laterality(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield every side that is named, the tumour's own with most confidence."""
    holding: dict[Part, float] = {}
    for value in find_choice(reading, field):
        start = value.evidence[0].start
        part = reading.part_at(start)
        if _LABEL.search(reading.text[max(0, start - 20) : start]):
            yield replace(value, confidence=STATED, rule=RULE)
        elif part is None or reading.language != "en":
            yield replace(value, rule=RULE)
        else:
            if part not in holding:
                holding[part] = _holds(reading, part)
            yield replace(value, confidence=min(value.confidence, holding[part]), rule=RULE)


def _holds(reading: Reading, part: Part) -> float:
    end = min(part.end, part.start + REACH)
    stretch = reading.text[part.start : end]
    if _NODE.search(stretch[:60]):
        return LACKS
    for match in _TUMOUR.finditer(stretch):
        said = asserted(reading, part.start + match.start(), part.start + match.end())
        if said.assertion is not Assertion.ABSENT:
            return HOLDS
    return LACKS

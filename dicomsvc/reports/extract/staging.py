"""Stage groups (``Stage IIIB``, ``AJCC stage: IIA``, ``ⅢB期``) and the edition that a report stages by."""

import re
from collections.abc import Iterator
from itertools import islice

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue

STAGE_RULE = "stage_group/1"
EDITION_RULE = "ajcc_edition/1"
_FLOOD = 200
"""Mentions that are looked at; more stand in no report."""
_GROUP = r"(?P<group>0|iv|i{1,3}|[ⅰ-ⅳ]|[1-4])[ ]?(?P<sub>[abc][1-3]?|is)?"
_STAGE = searcher(
    rf"\bstag(?:e|ing)(?P<label>[ ]?group(?:ing)?)?(?:[ ]?\([^()]{{0,30}}\))?[ ]{{0,2}}[:=\-]?[ ]{{0,3}}"
    rf"(?:in the absence of metastas[ei]s[ ]?[:,][ ]?|is[ ]|group[ ]|p)?{_GROUP}\b"
    r"|\bptnm (?:classification|stage)[ ]?:[ ]{0,2}p(?P<after>iv|i{1,3})(?P<aftersub>[abc])?\b"
    r"|(?P<zh>iv|i{1,3}|[ⅰ-ⅳ]|[一二三四])[ ]?(?P<zhsub>[abc][1-3]?)?[ ]?期"
)
_EDITION = searcher(
    r"(?:ajcc|uicc|tnm|cancer staging manual)[^.;\d第]{0,40}?\b(?:v(?:ersion"
    r"|\.)?[ ]?)?(?P<after>[5-9])[ ]?(?:th|\.0)?\b"
    r"|\b(?P<before>[5-9])[ ]?th[ ]ed(?:ition|n)?\b"
    r"|\b(?P<word>fifth|sixth|seventh|eighth|ninth)[ ]ed(?:ition|n)\b"
    r"|第[ ]?(?P<zh>[5-9五六七八九])[ ]?版"
    r"|(?:ajcc|uicc|tnm)[^.;\d]{0,30}\(?\b(?P<year>200[2-9]|201[0-9])\b"
)
_ROMAN = {"1": "i", "2": "ii", "3": "iii", "4": "iv", "ⅰ": "i", "ⅱ": "ii", "ⅲ": "iii", "ⅳ": "iv"}
_HAN = {"一": "i", "二": "ii", "三": "iii", "四": "iv"}
_EDITIONS = {"fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9} | dict(
    zip("五六七八九", range(5, 10), strict=True)
)
_NOT_TUMOUR = re.compile(r"clinical|fibrosis|figo|kidney disease|ckd|ulcer|\b[tnm][ \-]$|临床|纤维化|增殖|月经")
_NOT_OF_CASE = re.compile(r"[ ,]{0,2}(?:fibrosis|node|breast|disease|patients|pressure|cirrhosis|of \d)")
_NEARBY = re.compile(r"ajcc|uicc|tnm|stag|\bp[tnm]|edition|分期|版")


def find_stage_group(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield each stage group; English arabic numbers count only behind "stage group"."""
    for match in islice(_STAGE.finditer(reading.text), _FLOOD):
        before = reading.text[max(0, match.start() - 25) : match.start()]
        if reading.weight_at(match.start()) < 0.2 or _NOT_TUMOUR.search(before):
            continue
        if _NOT_OF_CASE.match(reading.text, match.end()):
            continue
        group = match["group"] or match["after"] or match["zh"]
        if group in ("0", "1", "2", "3", "4") and not match["label"]:
            continue
        sub = match["sub"] or match["aftersub"] or match["zhsub"] or ""
        evidence = reading.evidence(match.start(), match.end())
        yield FieldValue(
            field=field.id,
            value=(_HAN.get(group, _ROMAN.get(group, group)) + sub).upper(),
            evidence=(evidence,),
            raw=reading.raw(evidence),
            part=reading.label_at(match.start()),
            confidence=0.95,
            rule=STAGE_RULE,
        )


def find_edition(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the AJCC/UICC edition where staging is spoken of."""
    for match in islice(_EDITION.finditer(reading.text), _FLOOD):
        around = reading.text[max(0, match.start() - 60) : match.end() + 40]
        if _NEARBY.search(around) is None or reading.weight_at(match.start()) < 0.2:
            continue
        evidence = reading.evidence(match.start(), match.end())
        yield FieldValue(
            field=field.id,
            value=_edition(match),
            evidence=(evidence,),
            raw=reading.raw(evidence),
            confidence=0.95,
            rule=EDITION_RULE,
        )


def _edition(match: re.Match[str]) -> int:
    if match["year"]:
        # The manuals hold from 2003, 2010 and 2018.
        year = int(match["year"])
        return 6 if year < 2009 else 7 if year < 2016 else 8
    said = match["after"] or match["before"] or match["word"] or match["zh"]
    return _EDITIONS.get(said) or int(said)

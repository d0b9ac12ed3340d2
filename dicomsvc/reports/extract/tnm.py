"""TNM categories as pathologists write them: ``pT2pN0pMx``, ``pT4a, N1b``, ``T2 NO MX``, ``Primary tumor (pT): pT2``.

A category without its ``p`` counts in a chain with its like, or behind words that announce staging. Clinical categories
(``cT2``) are none of the report's own findings. Of lists of options, only what is ticked counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue

RULE = "tnm/1"
_ANCHOR = searcher(
    r"(?:\b|ajcc)(?:[yra]{0,2}p[ .]{0,2}[tnm][ .]{0,2}[0-4xlio]|[yra]{0,2}c?t[ .]?(?:[0-4x]|is\b)"
    r"|n[ .]?[0-3xo]|m[01x]\b)"
)
_LABELLED = searcher(
    r"\b(?:p(?P<own>[tnm])|(?P<axis>[tnm])[ \-](?:stage|category|classification))"
    r"(?:[ \-](?:stage|category|classification))?\)?[ ]{0,2}[:=][ ]{0,3}(?P<value>[0-4][a-d]?|is|x|1mi)\b"
)
_BOUND = r"(?=[^a-z0-9]|$|[yrac]{0,2}p?[nm][ ]?[0-3xo]|[lvrg][0-3ox])"
_ENDS = r"(?=[ ]{0,2}(?:[,;.)(/]|$|p?n[ ]?[0-3xo]))"
_TOKEN = re.compile(
    rf"""
    (?P<prefix>[yra]{{0,2}}[ ]?p|[yra]?c|[yra]{{0,2}}) [ .]{{0,2}}
    (?: t [ .]{{0,2}} (?P<t>is|x|[0-4]|[li]) (?P<ts>mic?|[a-d][1-3]?|[ ][a-d]{_ENDS})? {_BOUND}
        (?P<tm>[ ]?\((?:m|mult\w*|is|dcis|lcis|[2-9])\))?
      | n [ .]{{0,2}} (?P<n>[0-3xo]) (?P<ns>mic?|[a-c]|[ ][a-c]{_ENDS})? (?P<ni>[ ]?i[+\-])? {_BOUND}
        (?P<nm>(?:[ ]{{0,2}}\((?:i|mol|sn|mic?|itc|f)[ ]?[+\-]?\))*)
      | m [ .]{{0,2}} (?P<m>[01xo]) (?P<ms>[a-d])? {_BOUND} )
    """,
    re.VERBOSE,
)
_SEPARATOR = re.compile(r"(?:[ ]?\([^()]{0,40}\))?[\s,;:./&\-\\*_]{0,6}(?:and )?\(?")
_ANNOUNCED = re.compile(r"tnm|stag(?:e|ing)|classification|categor|primary tumou?r|regional lymph|\(p?[tnm]\)|分期")
_FOREIGN = re.compile(r"clinical(?:ly)?\b|pre-?op|histor|biops|imaging|\bc$|radiolog|临床分期|术前|既往|mvi|微血管")
_RANGE = re.compile(r"[ ]?(?:-|/|to|~)[ ]?(?:p?t)?[0-4](?![0-9.])")
_TICKED = re.compile(r"(?:[\[({][ ]?[x+*✓√][ ]?[\])}]|[☑☒■●✓√]|(?:^|[\s_])x|_x_)[ _\-:]{0,3}$")
_STANDS_ALONE = re.compile(r"[ ]{0,3}(?:[,;)(]|\.(?![0-9])|\n|$)")
_SUBDIVIDED = re.compile(r"t3[a-d]")
"""Of the bowel; the depth beyond the muscle that pathologists add to T3, no category of AJCC/UICC."""
_MOST = 300
"""More categories than that stand in no report; the time to compare them all stays short."""
_UNREAD = ("clinical", "blocks", "disclaimer")


@dataclass(frozen=True, slots=True)
class Category:
    """One category at ``text[start:end]``; ``prefix`` has the letters y, r, a, p, ``marks`` what stands in brackets."""

    axis: str
    value: str
    start: int
    end: int
    prefix: str = ""
    marks: str = ""
    confidence: float = 0.97


def find_tnm(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the categories of the axis that the field's ``axis`` names (``t``, ``n`` or ``m``)."""
    of_axis = [category for category in reading.once(categories) if category.axis == field.settings["axis"]]
    for category in _most_exact(of_axis):
        evidence = reading.evidence(category.start, category.end)
        qualifiers: dict[str, str | float | int | bool] = {}
        if descriptors := "".join(letter for letter in "yra" if letter in category.prefix):
            qualifiers["descriptor"] = descriptors
        if category.marks:
            qualifiers["suffix"] = category.marks
        value = category.value
        if "colorectum" in reading.organs[:1] and _SUBDIVIDED.fullmatch(value):
            value, qualifiers["subdivision"] = value[:2], value[2:]
        yield FieldValue(
            field=field.id,
            value=value,
            evidence=(evidence,),
            raw=reading.raw(evidence),
            part=reading.label_at(category.start),
            confidence=category.confidence,
            rule=RULE,
            qualifiers=qualifiers,
        )


def find_descriptor(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield each TNM descriptor: ``y`` after treatment, ``r`` recurrence, ``a`` autopsy, ``m`` several tumours."""
    for category in reading.once(categories):
        letters = [letter for letter in "yra" if letter in category.prefix]
        if category.axis == "t" and re.search(r"\((?:m|mult\w*|[2-9])\)", category.marks):
            letters.append("m")
        for letter in letters:
            evidence = reading.evidence(category.start, category.end)
            yield FieldValue(field.id, letter, evidence=(evidence,), raw=reading.raw(evidence), rule=RULE)


def categories(reading: Reading) -> tuple[Category, ...]:
    """Return every pathologic category in the order of the text."""
    found: list[Category] = []
    reached = 0
    for anchor in islice(_ANCHOR.finditer(reading.text), 20 * _MOST):
        if anchor.start() < reached or not _readable(reading, anchor.start()) or _scores(reading, anchor.start()):
            continue
        if len(found) > _MOST:
            break
        chain = _chain(reading, anchor.start() + 4 * reading.text.startswith("ajcc", anchor.start()))
        if chain:
            reached = chain[-1].end
            found.extend(_believed(reading, chain))
    labelled = islice(_labelled(reading), _MOST)
    found.extend(category for category in labelled if not _covered(category, found))
    ordered = sorted(found, key=lambda category: category.start)[:_MOST]
    return tuple(_chosen(reading, ordered))


_GRADED = re.compile(r"(?:grade|nottingham|bloom|sbr|elston)[^()]{0,20}\([ ]?$")


def _scores(reading: Reading, offset: int) -> bool:
    """Whether letters stand for tubules, nuclei and mitoses behind a grade: "grade 2 (T3, N2, M1)"."""
    return _GRADED.search(reading.text, max(0, offset - 40), offset) is not None


def _readable(reading: Reading, offset: int) -> bool:
    section = reading.section_at(offset)
    return section is None or section.kind not in _UNREAD


def _chain(reading: Reading, start: int) -> list[Category]:
    """Return the categories that follow each other from ``start``."""
    stretch = reading.text[start : start + 300]
    chain: list[Category] = []
    position = 0
    while (match := _TOKEN.match(stretch, position)) and (category := _category(match, start)):
        if chain and category.axis in {earlier.axis for earlier in chain}:
            break
        if not _reads_zero(reading, category, stretch[match.end() :]):
            break
        chain.append(category)
        separator = _SEPARATOR.match(stretch, match.end())
        position = separator.end() if separator else match.end()
    return chain


def _category(match: re.Match[str], start: int) -> Category | None:
    axis = next(name for name in "tnm" if match[name] is not None)
    major = {"l": "1", "i": "1", "o": "0"}.get(match[axis], match[axis])
    sub = (match[f"{axis}s"] or "").strip().replace("mic", "mi")
    marks = "".join((match["tm"] or match["nm"] or match["ni"] or "").split())
    if axis == "n" and major == "1" and "(mi" in marks:
        sub, marks = "mi", ""
    prefix = match["prefix"].replace(" ", "")
    begin = start + match.start() + len(match.group()) - len(match.group().lstrip(" ."))
    return Category(axis, f"{axis}{major}{sub}", begin, start + match.end(), prefix, marks)


def _reads_zero(reading: Reading, category: Category, after: str) -> bool:
    """Whether a letter O stands for a nought: ``NO MX`` does, ``no tumor`` does not."""
    written = reading.original[category.start : category.end].partition("(")[0]
    glued = re.match(r"[a-z0-9)]", reading.text[category.start - 1 : category.start]) is not None
    if category.value != "n0" or "o" not in written.lower() or category.prefix.endswith("p") or glued:
        return True
    return (
        written.isupper() and re.match(r"[\s,;:./\-]{0,4}(?:$|p?m[ ]?[01xo]\b|\)|\([is])|[ ]?[.;,]", after) is not None
    )


def _believed(reading: Reading, chain: list[Category]) -> Iterator[Category]:
    first, last = chain[0], chain[-1]
    before = reading.text[max(0, first.start - 60) : first.start]
    if first.prefix.endswith("c") or (len(chain) == 1 and _RANGE.match(reading.text, last.end)):
        return
    announced = _ANNOUNCED.search(before) is not None
    if first.prefix.endswith("p"):
        if len(chain) == 1 and not announced and _is_patient(reading.original[first.start : first.end]):
            return
        yield from (_inheriting(category, first) for category in chain if not category.prefix.endswith("c"))
        return
    axes = {category.axis for category in chain}
    scanned = _scanned_t(reading, first)
    if scanned is not None:
        axes.add("t")
    if _FOREIGN.search(before) or not ({"t", "n"} <= axes or announced):
        return
    if scanned is not None:
        yield scanned
    for category in chain:
        if not category.prefix.endswith("c"):
            yield replace(_inheriting(category, first), confidence=0.92 if {"t", "n"} <= axes else 0.88)


def _is_patient(written: str) -> bool:
    """Whether ``pt is`` or ``pt 2`` is short for a patient."""
    return re.match(r"pt[ .]+|(?i:pt)[ .]+(?:is|x)", written) is not None


def _inheriting(category: Category, first: Category) -> Category:
    return category if category.prefix else replace(category, prefix=first.prefix)


def _scanned_t(reading: Reading, first: Category) -> Category | None:
    """Return the T that a scanner read as 1 or I before an N: ``13 N2``."""
    if first.axis != "n":
        return None
    before = re.search(r"(?<![0-9a-z/.])[1il|]([0-4])[ ,]{1,2}$", reading.text[max(0, first.start - 6) : first.start])
    if before is None:
        return None
    start = max(0, first.start - 6) + before.start()
    return Category("t", f"t{before[1]}", start, first.end, confidence=0.8)


def _labelled(reading: Reading) -> Iterator[Category]:
    """Yield categories that stand behind their axis alone: ``pT: 2``, ``N stage: 1a``."""
    for match in _LABELLED.finditer(reading.text):
        alone = _STANDS_ALONE.match(reading.original, match.end())
        if alone and _readable(reading, match.start()):
            axis = match["own"] or match["axis"]
            yield Category(axis, f"{axis}{match['value']}", match.start(), match.end(), confidence=0.93)


def _covered(category: Category, found: list[Category]) -> bool:
    return any(other.start < category.end and category.start < other.end for other in found)


def _chosen(reading: Reading, found: list[Category]) -> Iterator[Category]:
    """Leave out what stands in a list of options without a tick."""
    for category in found:
        near = [o for o in found if o.axis == category.axis and abs(o.start - category.start) <= 400]
        if len({other.value for other in near}) < 3 or _is_ticked(reading, category):
            yield category


def _is_ticked(reading: Reading, category: Category) -> bool:
    return _TICKED.search(reading.text[max(0, category.start - 12) : category.start]) is not None


def _most_exact(found: list[Category]) -> Iterator[Category]:
    """Leave out a category where another one says the same more exactly (``t1`` beside ``t1c``)."""
    values = {category.value for category in found}
    for category in found:
        finer = [value for value in values if value != category.value and value.startswith(category.value)]
        if len(finer) != 1:
            yield category

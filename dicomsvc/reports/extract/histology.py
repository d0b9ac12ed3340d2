"""Histologic types: which of the tumours that a report names is the one it is about.

Every type of the table is sought in one pass. A name counts less where it is that of a metastasis or of a margin's
statement, and not where it is denied, of the past, or a mere feature of another type ("with areas of ..."). General
names yield to specific ones, types in situ to invasive ones.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.extract.terms import MOST, Term, find_terms, in_scope, term_value
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field, fields
from dicomsvc.reports.text.wording import alternatives, searcher
from dicomsvc.reports.values import Assertion, Coding, FieldValue

RULE = "histology/1"
TYPE = "histologic_type"
"""The field whose table holds the types; other fields of this kind read the same mentions."""
LEAST = 0.3
"""What stands in a section of less weight (the clinical history) is not the report's diagnosis."""
LABELS = 100
"""Labels whose answers are looked at."""
YIELD = 0.5
"""A general name yields to a specific one that is believed at least this share as far."""
VAGUE = ("carcinoma", "invasive_carcinoma")
"""Names that tell nothing of the type, so that a metastasis's name tells more."""
_LOOK = 70
_NOT_MEANT = re.compile(
    r"(?:histor(?:y|ies) of|h/o|prior|previous(?:ly)?|status post|s/p|rule out|r/o|\?|evaluate for|negative for|"
    r"free of|uninvolved by|no (?:evidence|residual|definite|other|malignant|invasive|in situ)[^,;:]{0,20}|"
    r"既往|病史)[^.;:。；]{0,22}$|(?:排除|未见|无)[^.;:,。；，]{0,22}$|"
    r"(?:features|differentiation|components?|areas?|pattern|growth|portions?) (?:suggestive |typical |consistent )?"
    r"(?:of|with)(?: an?)? $|with (?:focal|some|minor|partial|areas of|foci of)(?: areas of)? $|part(?:ially|ly|im) $|"
    r"(?<!and )in[\s-]?situ $|benign $|原位$|"
    r"(?:favou?r|versus|vs\.?|\bor|cannot exclude|differential(?: diagnosis)?(?: includes)?) $"
)
_COMPONENT = re.compile(
    r"(?:部分|局部|局灶|小灶|少量|灶性|小部分|混有|伴有?|夹杂)(?:区域)?(?:为|呈|见|伴有?|含)?(?:少量|[高中低]分化)*$"
)
"""Chinese words before a type that is a lesser part of another."""
_GLAND = re.compile(r"(?:前列|乳|甲状|甲状旁|胰|唾液|涎|泪|肾上|胸)$")
"""Glands whose cancers end in 腺癌 without being named adenocarcinomas: 乳腺癌, 前列腺癌."""
_METASTASIS = re.compile(
    r"metasta(?:tic|sis|ses|sized|sised)(?:[^.;:。；]{0,32}|[.]\s)$|meta static $|secondary $|positive for $|"
    r"(?:recurrent|ruptured) $|转移性?(?:的)?(?:[高中低]分化)?$"
)
_METASTASIS_AFTER = re.compile(r"[\s,]{0,2}(?:metasta(?:tic|si)|转移)")
_IN_SITU_AFTER = re.compile(r"[\s.,\-(]{0,3}in[\s.-]{0,3}situ(?! and in)")
_MARGIN = re.compile(
    r"(?:\bby|\bfrom|\bto|\bbetween|margins? (?:of|for|with)|distance of|nodes? (?:with|for|by)) (?:the |any )?$"
)
_JUNCTION = searcher(
    r"(?:tumou?r (?:site|location)|located at|arising (?:at|in|from)|carcinoma (?:of|at))[:\s]{0,3}(?:the )?"
    r"(?:gastro[\s-]?o?esophageal|ge|oesophagogastric|esophagogastric)[\s-]{1,2}junction|\bo?esophago[\s-]?gastrectomy\b|\besophagectomy\b"
    r"|食管胃(?:交界|结合)部"
)
_INVASIVE = re.compile(r"invasi|infiltrat|浸润")


@dataclass(frozen=True, slots=True)
class _Named:
    term: Term
    confidence: float
    weight: float


def find_histology(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the types named; with ``level = "subtype"`` in the table as named, else as the organ counts them."""
    table = fields()[TYPE]
    under: Mapping[str, str] = {}
    if field.settings.get("level") != "subtype":
        under = table.settings.get("under", {}).get(reading.once(_organ), {})
    for named in reading.once(read_types):
        option = named.term.option
        value = term_value(reading, field, named.term, named.confidence, RULE)
        broader = under.get(option.value)
        yield replace(value, value=broader, code=_code(table, broader)) if broader else value


def _code(table: Field, value: str) -> Coding | None:
    option = table.option(value)
    return option.concept.coding if option and option.concept else None


def _organ(reading: Reading) -> str:
    """Return the organ whose value set holds: for the junction with the stomach the oesophagus (AJCC, 8th edition)."""
    organ = reading.organs[0] if reading.organs else ""
    junction = organ == "stomach" and ("oesophagus" in reading.organs or _JUNCTION.search(reading.text))
    return "oesophagus" if junction else organ


def read_types(reading: Reading) -> tuple[_Named, ...]:
    """Return the names of types that tell what the report's tumour is."""
    table = fields()[TYPE]
    if reading.organs and reading.organs[0] in table.settings.get("except", ()):
        return ()
    found = []
    counts: dict[str, int] = {}
    for term in _terms(reading, table):
        counts[term.option.value] = counts.get(term.option.value, 0) + 1
        confidence = _confidence(reading, term) if counts[term.option.value] <= MOST else 0.0
        if confidence:
            found.append(_Named(term, confidence, confidence * reading.weight_at(term.start)))
    return tuple(_meant(found, table.settings))


def _meant(found: list[_Named], settings: Mapping[str, tuple[str, ...]]) -> list[_Named]:
    """Return ``found`` without what yields: in situ to invasive, parts to their mixture, general to specific names."""
    invasive = [named for named in found if named.term.option.value not in settings["in_situ"]]
    if not invasive:
        return found
    top = max(named.weight for named in invasive)
    general = tuple(settings["general"])
    mixed = [n for n in invasive if n.term.option.value.startswith("mixed_") and n.weight >= YIELD * top]
    if mixed:
        return mixed
    plain = [n for n in invasive if n.weight >= YIELD * top]
    specific = [n for n in plain if n.term.option.value not in general]
    if not specific and all(n.term.option.value in VAGUE for n in plain):
        # The metastasis is named more exactly than the tumour that it is of.
        specific = [n for n in invasive if n.term.option.value not in general]
    if specific:
        return specific
    rank = max((general.index(n.term.option.value) for n in invasive if n.term.option.value in general), default=0)
    return [n for n in invasive if n.term.option.value not in general or n.term.option.value == general[rank]]


def _terms(reading: Reading, table: Field) -> Iterator[Term]:
    terms = list(find_terms(reading, table))
    yield from terms
    starts = [term.start for term in terms]
    for label in islice(table.pattern(reading.language).finditer(reading.text), LABELS):
        behind = bisect_left(starts, label.end())
        if behind < len(starts) and starts[behind] - label.end() <= 14:
            continue
        if term := _answer(reading, table, label.end()):
            yield term


def _answer(reading: Reading, table: Field, end: int) -> Term | None:
    """Return the short form that answers a label ending at ``end``."""
    blanks = re.match(r"[\s:.\-*]{0,6}", reading.text[end : end + 6])
    begin = end + (blanks.end() if blanks else 0)
    for option in in_scope(reading, table):
        words = table.settings["answers"].get(reading.language, {}).get(option.value)
        if words and (found := searcher(alternatives(words)).match(reading.text, begin)):
            return Term(option, begin, found.end(), True)
    return None


def _is_entry(reading: Reading, start: int) -> bool:
    """Whether a labelled type stands in a section that only ran on ("Date: ... Histologic type: ...")."""
    section = reading.section_at(start)
    return section is not None and section.kind in ("administrative", "clinical")


def _confidence(reading: Reading, term: Term) -> float:
    """Return how far a name is that of the report's tumour; 0 where it is not."""
    if reading.weight_at(term.start) < LEAST and not (term.labelled and _is_entry(reading, term.start)):
        return 0.0
    left, _ = reading.clauses.around(term.start, term.end)
    before = re.sub(r"\.?\s+", " ", reading.text[max(left, term.start - _LOOK) : term.start])
    if _NOT_MEANT.search(before) or _COMPONENT.search(before):
        return 0.0
    if reading.text.startswith("腺癌", term.start) and _GLAND.search(before):
        return 0.0
    in_situ = term.option.value in fields()[TYPE].settings["in_situ"]
    if not in_situ and _IN_SITU_AFTER.match(reading.text[term.end : term.end + 20]):
        return 0.0
    if _METASTASIS.search(before) or _METASTASIS_AFTER.match(reading.text[term.end : term.end + 20]):
        return 0.4
    if asserted(reading, term.start, term.end).assertion in (Assertion.ABSENT, Assertion.HISTORICAL, None):
        return 0.0
    if term.labelled:
        return 0.97
    if _MARGIN.search(before):
        return 0.5
    return 0.92 if _INVASIVE.search(before + reading.text[term.start : term.end]) else 0.88

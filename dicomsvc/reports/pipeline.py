"""The spaCy pipeline: text in, `StructuredReport` out.

Blank English and Chinese pipelines (nothing is downloaded) with three components: ``report_layout`` sets sentences and
``doc.spans["sections"]``, ``report_fields`` runs the extractors and leaves the evidence as ``doc.spans["fields"]``,
``report_derivation`` adds what follows. Values are in ``doc._.values``.
"""

import time
from dataclasses import replace
from functools import cache

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from dicomsvc.errors import TooLarge
from dicomsvc.reports.derive import derived
from dicomsvc.reports.extract import KINDS
from dicomsvc.reports.organs import find_organs
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.resolve import resolve
from dicomsvc.reports.schema import fields
from dicomsvc.reports.text.quality import judged
from dicomsvc.reports.text.tokens import ReportTokenizer
from dicomsvc.reports.values import FieldValue, StructuredReport

VERSION = "1"
"""Goes up when the same text may give other values."""
LONGEST_SECONDS = 20.0
"""What a text may take, a thousand times the usual; then it is no report."""
MOST_WORDS = 200_000
"""spaCy keeps every word it has seen, names of patients among them; past this many it starts anew."""

Doc.set_extension("reading", default=None, force=True)
Doc.set_extension("values", default=(), force=True)


@Language.component("report_layout")
def _layout(doc: Doc) -> Doc:
    reading: Reading = doc._.reading
    # One array in, one out: tokens one by one would cost more than all the extractors.
    begins = np.isin(doc.to_array(["IDX"]), np.array(reading.clauses.starts, dtype=np.uint64))
    doc.from_array(["SENT_START"], np.where(begins, 1, -1).astype(np.uint64)[:, None])  # type: ignore[arg-type]
    doc.spans["sections"] = _spans(doc, ((section.start, section.end, section.kind) for section in reading.sections))
    return doc


@Language.component("report_fields")
def _fields(doc: Doc) -> Doc:
    reading: Reading = doc._.reading
    reading.organs = find_organs(reading)
    found: list[FieldValue] = []
    latest = time.monotonic() + LONGEST_SECONDS
    for field in fields().values():
        if time.monotonic() > latest:
            raise TooLarge(f"reading took longer than {LONGEST_SECONDS:.0f} s")
        if field.belongs_to(reading.organs):
            found.extend(resolve(reading, field, KINDS[field.kind](reading, field)))
    doc._.values = found
    return doc


@Language.component("report_derivation")
def _derivation(doc: Doc) -> Doc:
    doc._.values = tuple(derived(doc._.reading, doc._.values))
    doc.spans["fields"] = _spans(
        doc, ((place.start, place.end, value.field) for value in doc._.values for place in value.evidence)
    )
    return doc


def _spans(doc: Doc, places: object) -> list[Span]:
    found = []
    for start, end, label in places:  # type: ignore[attr-defined]
        span = doc.char_span(start, end, label=label, alignment_mode="expand")
        if span is not None:
            found.append(span)
    return found


@cache
def pipeline(language: str) -> Language:
    """Return the pipeline for ``en`` or ``zh``; built once, and again when it has seen too many words."""
    nlp = spacy.blank(language)
    nlp.tokenizer = ReportTokenizer(nlp.vocab)
    for name in ("report_layout", "report_fields", "report_derivation"):
        nlp.add_pipe(name)
    return nlp


def analysed(text: str, language: str) -> Doc:
    """Return the spaCy document of ``text`` with all that the pipeline found; offsets are those of ``text``."""
    nlp = pipeline(language)
    if len(nlp.vocab) > MOST_WORDS:
        pipeline.cache_clear()
        nlp = pipeline(language)
    reading = Reading(text, language)
    doc = nlp.make_doc(reading.text)
    doc._.reading = reading
    return nlp(doc)


def structure(text: str) -> StructuredReport:
    """Return the fields of a report, or why there are none (``quality.structured`` False)."""
    quality = judged(text)
    if not quality.structured:
        return StructuredReport(text, quality, version=VERSION)
    try:
        doc = analysed(text, quality.language)
    except TooLarge as error:
        return StructuredReport(text, replace(quality, structured=False, reason=error.message), version=VERSION)
    return StructuredReport(text, quality, doc._.reading.organs, tuple(doc._.values), VERSION)

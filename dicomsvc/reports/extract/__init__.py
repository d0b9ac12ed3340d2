"""Extractors: one for each kind of field, listed in `KINDS`.

An extractor takes a `Reading` and a `Field` and yields every value it finds, with evidence; which of them holds for the
case is `dicomsvc.reports.resolve`'s to say.
"""

from collections.abc import Callable, Iterable, Mapping

from dicomsvc.reports.extract.choice import find_choice
from dicomsvc.reports.extract.finding import find_finding
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import FieldValue

Extractor = Callable[[Reading, Field], Iterable[FieldValue]]

KINDS: Mapping[str, Extractor] = {
    "finding": find_finding,
    "choice": find_choice,
}

__all__ = ["KINDS", "Extractor"]

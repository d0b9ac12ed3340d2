"""Subtypes: a choice where one option's name may hold another's, and where a general name yields to a subtype.

"Clear cell papillary renal cell tumour" is neither of the carcinomas whose words it has; "renal cell carcinoma" beside
"clear cell type" adds nothing. ``general`` in the table lists the options that count only where no other is named.
"""

from collections.abc import Iterator

from dicomsvc.reports.extract.choice import find_choice
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import FieldValue


def find_subtype(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield the options that are named, the longest name at each place."""
    found = sorted(find_choice(reading, field), key=lambda value: (value.evidence[0].start, -value.evidence[0].end))
    longest: list[FieldValue] = []
    for value in found:
        if not longest or value.evidence[0].end > longest[-1].evidence[0].end:
            longest.append(value)
    general = field.settings.get("general", ())
    yield from [value for value in longest if value.value not in general] or longest

"""Margins: whether any is involved (``margin_involved``), and one value for each that is named (``margin``).

A margin that tumour comes close to is not involved. Carcinoma in situ at a margin counts unless the report says of the
invasive tumour apart how it stands to the margins; dysplasia and adenoma never do. A distance implies that the margin
is clear: such a value is derived.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from dicomsvc.reports.extract.margin_statements import Statement, statements
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.resolve import CLOSE
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "margins/1"
CLEAR_BY_DISTANCE = "margin_clear_by_distance/1"
READ, MICROSCOPIC = 0.3, 0.65
"""From which section's weight on "free" counts, and "involved" or a distance: below, it is the naked eye's or a frozen
section's word."""


def find_margins(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield each named margin where the field keeps ``many``, else ``present`` or ``absent`` for every part."""
    said = reading.once(statements)
    yield from _each(reading, field, said) if field.settings.get("many") else _any(reading, field, said)


def _weight(reading: Reading, statement: Statement) -> float:
    return reading.weight_at(statement.start) * (1.0 if statement.state is not None else 0.85)


def _any(reading: Reading, field: Field, said: Sequence[Statement]) -> Iterator[FieldValue]:
    counted = [statement for statement in said if _tells(reading, statement)]
    if any(statement.lesion == "invasive" and statement.state is not None for statement in counted):
        counted = [statement for statement in counted if statement.lesion != "in_situ"]
    involved = [statement for statement in counted if statement.state is Assertion.PRESENT]
    denied = [statement for statement in counted if statement.state is Assertion.ABSENT]
    heaviest = max((reading.weight_at(statement.start) for statement in involved), default=0.0)
    if any(reading.weight_at(statement.start) - heaviest >= CLOSE for statement in denied) and involved:
        # One margin told to be involved where details stand is not outweighed by "margins free" in the diagnosis.
        yield from (_value(reading, field, statement, conflict=True) for statement in involved)
        return
    for statement in counted:
        part = reading.label_at(statement.start)
        rivals = [other for other in involved if reading.label_at(other.start) == part]
        if rivals and statement not in rivals:
            continue
        yield _value(reading, field, statement, conflict=bool(rivals) and any(other.all for other in denied))


def _tells(reading: Reading, statement: Statement) -> bool:
    """Whether the statement says if a margin is involved; a distance does so only where it is no mere naked eye's."""
    weight = reading.weight_at(statement.start)
    return weight >= (READ if statement.state is Assertion.ABSENT else MICROSCOPIC)


def _value(reading: Reading, field: Field, statement: Statement, *, conflict: bool) -> FieldValue:
    evidence = reading.evidence(statement.start, statement.end)
    involved = statement.state is Assertion.PRESENT
    derived = statement.state is None
    return FieldValue(
        field=field.id,
        value=Assertion.PRESENT.value if involved else Assertion.ABSENT.value,
        status=Status.CONFLICT if conflict else Status.DERIVED if derived else Status.STATED,
        assertion=Assertion.PRESENT if involved else Assertion.ABSENT,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        part=reading.label_at(statement.start),
        confidence=0.8 if derived else 0.95,
        rule=CLEAR_BY_DISTANCE if derived else RULE,
    )


def _each(reading: Reading, field: Field, said: Sequence[Statement]) -> Iterator[FieldValue]:
    groups: dict[tuple[str | None, str], list[Statement]] = defaultdict(list)
    for statement in said:
        for name in statement.names or (("closest",) if statement.closest else ()):
            groups[reading.label_at(statement.start), name].append(statement)
    for (part, name), of_margin in groups.items():
        yield _margin(reading, field, part, name, of_margin)


def _margin(reading: Reading, field: Field, part: str | None, name: str, said: list[Statement]) -> FieldValue:
    """Return one margin's value: its state and its distance from the weightiest places that tell them."""
    weighed = sorted(
        said, key=lambda statement: (-_weight(reading, statement), statement.state is not Assertion.PRESENT)
    )
    state = next((statement for statement in weighed if statement.state is not None), None)
    measured = next((statement for statement in weighed if statement.distance is not None), None)
    involved = state is not None and state.state is Assertion.PRESENT
    told = [statement for statement in (state, None if involved else measured) if statement is not None]
    evidence = tuple(dict.fromkeys(reading.evidence(statement.start, statement.end) for statement in told))
    qualifiers: dict[str, str | float | int | bool] = {"margin": name}
    if measured is not None and measured.distance is not None and not involved:
        qualifiers["distance_mm"] = measured.distance.mm
        if measured.distance.bound:
            qualifiers["distance_bound"] = measured.distance.bound
    if any(statement.closest for statement in said):
        qualifiers["closest"] = True
    if state is not None and state.lesion:
        qualifiers["lesion"] = state.lesion
    return FieldValue(
        field=field.id,
        value="involved" if involved else "uninvolved",
        status=Status.STATED if state else Status.DERIVED,
        assertion=Assertion.PRESENT if involved else Assertion.ABSENT,
        evidence=evidence,
        raw=reading.raw(evidence[0]),
        part=part,
        confidence=round(0.9 * max(_weight(reading, statement) for statement in told), 2),
        rule=RULE if state else CLEAR_BY_DISTANCE,
        qualifiers=qualifiers,
    )

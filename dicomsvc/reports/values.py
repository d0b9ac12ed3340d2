"""What a report says, as values: fields with their status, assertion and evidence."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a value came to be."""

    STATED = "stated"
    DERIVED = "derived"
    """Follows from other stated values by a rule; `FieldValue.rule` names the rule and its edition."""
    NOT_STATED = "not_stated"
    CONFLICT = "conflict"
    """The report says two things that cannot both be; the value is the one from the weightier place."""
    UNCERTAIN = "uncertain"


class Assertion(StrEnum):
    """What is said of a finding (after i2b2 2010 and medspaCy's ConText)."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"
    HISTORICAL = "historical"


@dataclass(frozen=True, slots=True, order=True)
class Evidence:
    """A place in the original text: ``text[start:end]``, in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Coding:
    """A code of a terminology; ``system`` is its FHIR URI."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class FieldValue:
    """One value of one field.

    ``value`` is a word of the field's value set, a number in ``unit`` (UCUM), or text. ``raw`` is the text as the
    report has it. ``part`` is the specimen's label ("A"), or None for the case as a whole. ``rule`` names what found
    it, with its version: "finding/1". ``confidence`` is between 0 and 1 and says how far the rule is right by
    experience, not a probability. ``qualifiers`` are further facts of the same place, such as a margin's name or a
    node station.
    """

    field: str
    value: str | float | int | None
    status: Status = Status.STATED
    assertion: Assertion = Assertion.PRESENT
    evidence: tuple[Evidence, ...] = ()
    raw: str = ""
    unit: str | None = None
    code: Coding | None = None
    part: str | None = None
    confidence: float = 0.9
    rule: str = ""
    qualifiers: dict[str, str | float | int | bool] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quality:
    """Whether the text can be read: ``score`` is between 0 and 1; ``reason`` says why nothing was structured."""

    score: float
    language: str
    structured: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """All that was found in one report; ``organs`` are the packages whose fields were looked for."""

    text: str
    quality: Quality
    organs: tuple[str, ...] = ()
    values: tuple[FieldValue, ...] = ()
    version: str = ""

"""What is taken of all that was drawn, and what was left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydicom.sr.coding import Code

from dicomsvc.ai.training.data.marks import Role


class Origin(StrEnum):
    """Where an annotation comes from."""

    PEOPLE = "people"
    ACCEPTED = "accepted"
    """A model's result whose report a person accepted."""
    MODELS = "models"
    """A model's result that nobody judged."""


@dataclass(frozen=True, slots=True)
class Choice:
    """``series`` are UIDs of slides or annotations, ``classes`` labels or code values; what is empty does not choose.

    ``threshold`` is the share from which on a pixel of a fractional segmentation counts. Points become discs of
    ``point_um`` micrometres across, or are left out.
    """

    series: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    origins: frozenset[Origin] = frozenset((Origin.PEOPLE, Origin.ACCEPTED))
    threshold: float = 0.5
    point_um: float | None = None

    def takes_class(self, label: str, code: Code | None, role: Role) -> bool:
        """Whether a class is asked for; regions and what is ignored always are."""
        names = {label.casefold()} | ({code.value.casefold(), code.meaning.casefold()} if code else set())
        return role is not Role.THING or not self.classes or any(each.casefold() in names for each in self.classes)

    def takes_annotator(self, name: str) -> bool:
        return not self.annotators or name.casefold() in {each.casefold() for each in self.annotators}

    def takes_series(self, *series_instance_uids: str) -> bool:
        return not self.series or any(uid in self.series for uid in series_instance_uids)

    def point_radius(self, mpp: tuple[float, float]) -> tuple[float, float] | None:
        """Return the radius of a point in slide pixels, (x, y)."""
        return None if self.point_um is None else (self.point_um / 2 / mpp[0], self.point_um / 2 / mpp[1])


@dataclass(slots=True)
class LeftOut:
    """How much was left out, by reason. The names of patients are in no reason."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, count: int = 1) -> None:
        self.counts[reason] += count

    def update(self, counts: Mapping[str, int]) -> None:
        self.counts.update(counts)

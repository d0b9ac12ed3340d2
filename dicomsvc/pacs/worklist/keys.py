"""The keys of a worklist query: what is matched, and what is returned (PS3.4 K.2.2, K.6.1.2, C.2.2.2)."""

from dataclasses import dataclass
from typing import Final

from pydicom import DataElement, Dataset

from dicomsvc.errors import InvalidIdentifier
from dicomsvc.pacs.identifiers import Shape
from dicomsvc.pacs.keys import NOT_MATCHED, SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET, text_of
from dicomsvc.pacs.worklist.items import START_DATE, START_TIME
from dicomsvc.store.query import Attribute, Match, parse_match, vr_of
from dicomsvc.store.query.conditions import Parameters, element_condition, sequence_condition
from dicomsvc.store.query.values import Range, Texts

_MOST_KEYS: Final = 256
_DEEPEST: Final = 7
_WILDCARD: Final = frozenset("*?")
# Columns with an index, for keys without wildcards.
INDEXED: Final = {
    ("00080050",): "accession_number",
    ("00100020",): "patient_id",
    ("00402016",): "placer_order_number",
    ("00400512",): "container_identifier",
    ("00400500", "00400512"): "container_identifier",
    ("22000005",): "container_identifier",
}

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """``all_supported``: every key is; otherwise pending responses say so (0xFF01)."""

    matches: dict[Path, tuple[str, Match]]
    shape: Shape
    all_supported: bool


def read_keys(identifier: Dataset) -> Wanted:
    """Return what an Identifier asks.

    Raises
    ------
    InvalidIdentifier
        When a sequence key has more than one item, or there are more keys than any scanner sends.
    BadRequest
        When a value is none of its VR.
    """
    reading = _Reading()
    shape = {tag: inner for tag, inner in reading.shape_of(identifier, ()).items() if tag != SPECIFIC_CHARACTER_SET}
    # What says in which repertoire the response is.
    return Wanted(reading.matches, dict(sorted({SPECIFIC_CHARACTER_SET: None, **shape}.items())), reading.all_supported)


class _Reading:
    def __init__(self) -> None:
        self.matches: dict[Path, tuple[str, Match]] = {}
        self.all_supported = True

    def shape_of(self, data_set: Dataset, above: Path) -> dict[str, Shape | None]:
        shape: dict[str, Shape | None] = {}
        for element in data_set:
            tag = f"{int(element.tag):08X}"
            if element.tag.element == 0 or (tag == SPECIFIC_CHARACTER_SET and above):
                continue
            vr = vr_of(tag)
            if element.tag.is_private or vr == "UN" or (vr == "SQ") != (element.VR == "SQ"):
                self.all_supported = False
                continue
            shape[tag] = self._take(element, (*above, tag), vr)
        return dict(sorted(shape.items()))

    def _take(self, element: DataElement, path: Path, vr: str) -> Shape | None:
        if vr == "SQ":
            items = element.value or ()
            if len(items) > 1 or len(path) > _DEEPEST:
                raise InvalidIdentifier("a sequence key has more than one item, or lies too deep (PS3.4 C.2.2.2.6)")
            return self.shape_of(items[0], path) if items and len(items[0]) else None
        text = text_of(element)
        if not text or path[-1] in (SPECIFIC_CHARACTER_SET, TIMEZONE_OFFSET):
            return None
        if vr in NOT_MATCHED:
            self.all_supported = False
            return None
        match = parse_match(str(element.keyword or path[-1]), vr, text)
        if match is not None:
            self.matches[path] = (vr, match)
        if len(self.matches) > _MOST_KEYS:
            raise InvalidIdentifier(f"the identifier has more than {_MOST_KEYS} keys")
        return None


def conditions(wanted: Wanted, parameters: Parameters) -> list[str]:
    """Return the conditions on a row of ``worklist_entry``; keys below one sequence are for one item of it."""
    found, rest = _start_conditions(wanted.matches, parameters)
    below: dict[str, list[tuple[Path, str, Match]]] = {}
    for path, (vr, match) in rest.items():
        if (
            path in INDEXED
            and isinstance(match, Texts)
            and not any("*" in text or "?" in text for text in match.values)
        ):
            found.append(f"{INDEXED[path]} = ANY(CAST({parameters.add(list(match.values))} AS text[]))")
        elif len(path) == 1:
            found.append(element_condition("attributes", Attribute(path, vr, path[0]), match, parameters))
        else:
            below.setdefault(path[0], []).append((path, vr, match))
    found += [sequence_condition("attributes", keys, parameters) for keys in below.values()]
    return found


def _start_conditions(
    matches: dict[Path, tuple[str, Match]], parameters: Parameters
) -> tuple[list[str], dict[Path, tuple[str, Match]]]:
    """Match the start by its columns.

    A range of dates together with one of times is one range of moments (PS3.4 Table K.6-1, C.2.2.2.5).
    """
    dated, timed = (matches[path][1] if path in matches else None for path in (START_DATE, START_TIME))
    if not isinstance(dated, Range):
        return [], matches
    together = dated.open and isinstance(timed, Range)
    start = "start_date"
    taken = (START_DATE, START_TIME) if together else (START_DATE,)
    found = []
    for sign, date, time in ((">=", dated.low, "000000"), ("<=", dated.high, "235959")):
        if date is None:
            continue
        end = parameters.add(date)
        if together and isinstance(timed, Range):
            moment = (timed.low if sign == ">=" else timed.high) or time
            start, end = "(start_date, start_time)", f"({end}, {parameters.add(moment[:6])})"
        found.append(f"{start} {sign} {end}")
    return found, {path: key for path, key in matches.items() if path not in taken}

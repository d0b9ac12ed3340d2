"""SQL conditions: what a match (`dicomsvc.store.query.values`) asks of a column or of an element of a data set.

Texts of a request go into `Parameters` and never into the SQL; what is written into it are our own column names and
tags of eight hexadecimal digits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomsvc.store.query.keys import Attribute
from dicomsvc.store.query.values import Empty, FuzzyName, Match, Names, Numbers, Range, Texts

_WILDCARDS = re.compile(r"[*?]+")
_CJK = "\u2e80"


@dataclass(slots=True)
class Parameters:
    """The values that a statement is run with."""

    values: dict[str, object] = field(default_factory=dict)

    def add(self, value: object) -> str:
        """Return the placeholder of a value."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"%({name})s"


@dataclass(frozen=True, slots=True)
class ColumnOf:
    """A column with an attribute's values; ``pairs``: the expression whose ``bigrams`` are indexed, if any."""

    name: str
    array: bool = False
    number: bool = False
    pairs: bool = False


COLUMNS: Final[Mapping[str, ColumnOf]] = {
    "0020000D": ColumnOf("study.study_instance_uid"),
    "00100020": ColumnOf("study.patient_id", pairs=True),
    "00100010": ColumnOf("study.patient_name", pairs=True),
    "00100030": ColumnOf("study.patient_birth_date"),
    "00080050": ColumnOf("study.accession_number", pairs=True),
    "00200010": ColumnOf("study.study_id"),
    "00080020": ColumnOf("study.study_date"),
    "00080030": ColumnOf("study.study_time"),
    "00081030": ColumnOf("study.study_description", pairs=True),
    "00080090": ColumnOf("study.referring_physician_name", pairs=True),
    "00080061": ColumnOf("study.modalities", array=True),
    "00080062": ColumnOf("study.sop_classes", array=True),
    "00201206": ColumnOf("(SELECT count(*) FROM series s WHERE s.study_key = study.id)", number=True),
    "00201208": ColumnOf("(SELECT sum(s.number_of_instances) FROM series s WHERE s.study_key = study.id)", number=True),
    "0020000E": ColumnOf("series.series_instance_uid"),
    "00080060": ColumnOf("series.modality"),
    "00200011": ColumnOf("series.series_number", number=True),
    "00080021": ColumnOf("series.series_date"),
    "0008103E": ColumnOf("series.series_description", pairs=True),
    "00201209": ColumnOf("series.number_of_instances", number=True),
    "00080018": ColumnOf("instance.sop_instance_uid"),
    "00080016": ColumnOf("instance.sop_class_uid"),
    "00083002": ColumnOf("instance.transfer_syntax_uid"),
    "00200013": ColumnOf("instance.instance_number", number=True),
    "00400512": ColumnOf("instance.container_identifier", pairs=True),
}
SPECIMEN_IDENTIFIER: Final = ("00400560", "00400551")


def column_condition(column: ColumnOf, match: Match, parameters: Parameters) -> str:
    """Return the condition on a column."""
    name = column.name
    if isinstance(match, Empty):
        return f"{name} = '{{}}'" if column.array else f"{name} IS NULL"
    if column.array:
        return _array_condition(name, match, parameters)
    if column.number and isinstance(match, Numbers):
        return f"{name} = ANY(CAST({parameters.add(list(match.values))} AS numeric[]))"
    condition = value_condition(name, match, parameters)
    pairs = pairs_condition(name, match, parameters) if column.pairs else ""
    return f"{pairs} AND {condition}" if pairs else condition


def _array_condition(name: str, match: Match, parameters: Parameters) -> str:
    if isinstance(match, Texts) and not _has_wildcards(match):
        return f"{name} && CAST({parameters.add(list(match.values))} AS text[])"
    return f"EXISTS (SELECT FROM unnest({name}) AS element WHERE {value_condition('element', match, parameters)})"


def _has_wildcards(match: Texts) -> bool:
    return match.wildcards and any("*" in value or "?" in value for value in match.values)


def value_condition(value: str, match: Match, parameters: Parameters) -> str:
    """Return the condition on one value, given as an SQL expression of type text."""
    match match:
        case Range():
            return _range_condition(value, match, parameters)
        case Names():
            return _any([_name_condition(value, name, parameters) for name in match.values])
        case FuzzyName():
            return " AND ".join(
                f"fold({value}) LIKE {parameters.add('%' + _escape_like(word) + '%')}" for word in match.words
            )
        case Numbers():
            numbers = f"CAST({parameters.add(list(match.values))} AS numeric[])"
            return f"CASE WHEN {value} ~ '^[-+0-9.eE]{{1,64}}$' THEN CAST({value} AS numeric) = ANY({numbers}) END"
        case Texts():
            return _texts_condition(value, match, parameters)
        case Empty():
            return f"{value} IS NULL"


def _name_condition(value: str, name: str, parameters: Parameters) -> str:
    exact = f"{value} ~ {parameters.add(name_pattern(name))}"
    if "=" in name:
        return exact
    # Most names have one component group, and regular expressions cost ten times as much.
    simple = value if name.endswith("*") else f"rtrim({value}, '^')"
    pattern = parameters.add(like_pattern(name if name.endswith("*") else name.rstrip("^")))
    return f"CASE WHEN strpos({value}, '=') = 0 THEN {simple} LIKE {pattern} ELSE {exact} END"


def _range_condition(value: str, match: Range, parameters: Parameters) -> str:
    ends = []
    if match.low is not None and match.low == match.high:
        return f"{value} = {parameters.add(match.low)}"
    if match.low is not None:
        ends.append(f"{value} >= {parameters.add(match.low)}")
    if match.high is not None:
        ends.append(f"{value} <= {parameters.add(match.high)}")
    return " AND ".join(ends)


def _texts_condition(value: str, match: Texts, parameters: Parameters) -> str:
    wild = [text for text in match.values if match.wildcards and ("*" in text or "?" in text)]
    plain = [text for text in match.values if text not in wild]
    alternatives = [f"{value} LIKE {parameters.add(like_pattern(text))}" for text in wild]
    if len(plain) == 1:
        alternatives.append(f"{value} = {parameters.add(plain[0])}")
    elif plain:
        alternatives.append(f"{value} = ANY(CAST({parameters.add(plain)} AS text[]))")
    return _any(alternatives)


def _any(alternatives: list[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else f"({' OR '.join(alternatives)})"


def _escape_like(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def like_pattern(text: str) -> str:
    """Return a DICOM wildcard pattern as one of LIKE."""
    return _escape_like(text).replace("*", "%").replace("?", "_")


def name_pattern(name: str) -> str:
    r"""Return the regular expression for a name, upper case, in a text of names joined by ``\``, groups by ``=``.

    One component group matches any group; several match in their places. Empty components at the end say nothing.
    """
    groups = [_group_pattern(group) for group in name.split("=")]
    if len(groups) == 1:
        return rf"(^|[=\\]){groups[0]}($|[=\\])"
    return rf"(^|\\){'='.join(groups)}($|[=\\])"


def _group_pattern(group: str) -> str:
    group = group.strip()
    if not group:
        return r"[^=\\]*"
    if not group.endswith(("*", "?")):
        group = group.rstrip("^")
    pieces = {"*": r"[^=\\]*", "?": r"[^=\\]"}
    pattern = "".join(pieces.get(character) or re.escape(character) for character in re.sub(r"\*+", "*", group))
    return pattern + r"\^*"


def pairs_condition(expression: str, match: Match, parameters: Parameters) -> str:
    """Return what the index of neighbouring characters can say of a match; empty when it cannot help."""
    match match:
        case Names():
            alternatives = [_WILDCARDS.split(name.replace("=", "*").replace("^", "*")) for name in match.values]
            if not any("*" in name or "?" in name or "=" in name for name in match.values):
                alternatives = [[name.rstrip("^")] for name in match.values]
        case Texts() if _has_wildcards(match):
            alternatives = [_WILDCARDS.split(text) for text in match.values]
        case FuzzyName():
            alternatives = [list(match.words)]
        case _:
            return ""
    found = []
    for runs in alternatives:
        indexed = [run for run in runs if len(run) > 1 or run >= _CJK]
        if not indexed:
            return ""
        found.append(
            " AND ".join(f'bigrams({expression}) @> bigrams({parameters.add(run)} COLLATE "C")' for run in indexed)
        )
    return _any([f"({condition})" for condition in found]) if len(found) > 1 else found[0]


def specimen_condition(match: Texts, parameters: Parameters) -> str:
    """Return what the indexes of specimen identifiers can say of a match; the sequence is still to be looked at."""
    if not _has_wildcards(match):
        return _any(
            [
                f"instance.specimen_identifiers @> to_jsonb(CAST({parameters.add(text)} AS text))"
                for text in match.values
            ]
        )
    # Within the text of a JSON array: quotes and backslashes look different there.
    inside = Texts(tuple(f"*{re.sub(r'[^-. 0-9A-Za-z]', '*', text)}*" for text in match.values))
    return pairs_condition("CAST(instance.specimen_identifiers AS text)", inside, parameters)


def element_condition(attributes: str, attribute: Attribute, match: Match, parameters: Parameters) -> str:
    """Return the condition on an element of a data set, given as an SQL expression of its DICOM JSON."""
    return _element_condition(attributes, [(attribute.path, attribute.vr, match)], parameters, 0)


def sequence_condition(attributes: str, keys: list[tuple[tuple[str, ...], str, Match]], parameters: Parameters) -> str:
    """Return the condition that one item of a sequence fulfils all ``keys`` (path, VR, match) below it."""
    return _element_condition(attributes, keys, parameters, 0)


def _element_condition(
    data_set: str, keys: list[tuple[tuple[str, ...], str, Match]], parameters: Parameters, depth: int
) -> str:
    """Keys share the first tag; leaves have nothing behind it."""
    tag = keys[0][0][0]
    values = f"{data_set} -> '{tag}' -> 'Value'"
    conditions = [_leaf_condition(values, vr, match, parameters, depth) for path, vr, match in keys if len(path) == 1]
    inner: dict[str, list[tuple[tuple[str, ...], str, Match]]] = {}
    for path, vr, match in keys:
        if len(path) > 1:
            inner.setdefault(path[1], []).append((path[1:], vr, match))
    if inner:
        item = f"item{depth}"
        of_item = [_element_condition(item, group, parameters, depth + 1) for group in inner.values()]
        conditions.append(
            f"EXISTS (SELECT FROM jsonb_array_elements({values}) AS {item} WHERE {' AND '.join(of_item)})"
        )
    return " AND ".join(conditions)


def _leaf_condition(values: str, vr: str, match: Match, parameters: Parameters, depth: int) -> str:
    if isinstance(match, Empty):
        return f"({values}) IS NULL"
    value = f"value{depth}"
    if isinstance(match, Names | FuzzyName) or vr == "PN":
        text = f"upper(concat_ws('=', {value} ->> 'Alphabetic', {value} ->> 'Ideographic', {value} ->> 'Phonetic'))"
    elif isinstance(match, Range):
        text = _sortable(f"{value} #>> '{{}}'", vr)
    else:
        text = f"({value} #>> '{{}}')"
    condition = value_condition(text, match, parameters)
    return f"EXISTS (SELECT FROM jsonb_array_elements({values}) AS {value} WHERE {condition})"


def _sortable(text: str, vr: str) -> str:
    """Return an SQL expression of a date, time or date-time in the form that the ends of a `Range` have."""
    digits = f"translate({text}, ':-.', '')"
    if vr == "DA":
        return f'{digits} COLLATE "C"'
    if vr == "TM":
        padded = f"rpad({digits}, 12, '0')"
        return f"overlay({padded} placing '.' || substr({padded}, 7, 1) from 7 for 1) COLLATE \"C\""
    without_offset = f"regexp_replace({text}, '[+-][0-9]{{4}}$', '')"
    return f"rpad(replace({without_offset}, '.', ''), 20, '0') COLLATE \"C\""

"""The DICOM JSON of a result, as an SQL expression: PostgreSQL writes the text, nothing has to be parsed here.

What is returned without being asked for: PS3.18 tables 10.6.3-3 (studies), 10.6.3-4 (series), 10.6.3-5 (instances).
Asked for, by key or `includefield`, comes what else the index has of the level searched and of those above it. An
attribute that an object lacks is there without a value, as PS3.4 C.2.2.1.2 has it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from dicomsvc.store.levels import MOST_CHARACTERS
from dicomsvc.store.query.keys import Level, level_of, vr_of

_TABLES: Final = ("study", "series", "instance")
_DEFAULTS: Final[tuple[tuple[str, ...], ...]] = (
    tuple("0020000D 00080020 00080030 00080050 00080090 00100010 00100020 00100030 00100040 00200010".split()),
    tuple("0020000E 00080060 0008103E 00200011 00400244 00400245 00400275".split()),
    tuple("00080016 00080018 00200013 00280008 00280010 00280011 00280100".split()),
)
_UIDS: Final = ("0020000D", "0020000E")
_TIMEZONE_OFFSET: Final = "00080201"
_RETRIEVE_URL: Final = "00081190"
# PostgreSQL takes at most 100 arguments in a call.
_PAIRS_A_CALL: Final = 45


def _strings(vr: str, array: str) -> str:
    return f"jsonb_build_object('vr', '{vr}', 'Value', {array})"


def _one(vr: str, value: str) -> str:
    return _strings(vr, f"jsonb_build_array({value})")


RELATED: Final = (
    "CROSS JOIN LATERAL (SELECT count(*) AS number_of_series, sum(s.number_of_instances) AS number_of_instances"
    " FROM series s WHERE s.study_key = study.id) AS related"
)
"""What a statement joins for the counts in a study's document."""
# Attributes that the index makes.
_COMPUTED: Final[Mapping[str, str]] = {
    "00080061": _strings("CS", "to_jsonb(study.modalities)"),
    "00080062": _strings("UI", "to_jsonb(study.sop_classes)"),
    "00201206": _one("IS", "related.number_of_series"),
    "00201208": _one("IS", "related.number_of_instances"),
    "00201209": _one("IS", "series.number_of_instances"),
    "00083002": _one("UI", "instance.transfer_syntax_uid"),
    "00080005": """'{"vr":"CS","Value":["ISO_IR 192"]}'::jsonb""",
    "00080056": """'{"vr":"CS","Value":["ONLINE"]}'::jsonb""",
}
_COMPUTED_DEFAULTS: Final[tuple[tuple[str, ...], ...]] = (
    ("00080005", "00080056", "00080061", "00201206", "00201208"),
    ("00080005", "00201209"),
    ("00080005", "00080056", "00083002"),
)
_URLS: Final = (
    "'/studies/' || study.study_instance_uid",
    "'/studies/' || study.study_instance_uid || '/series/' || series.series_instance_uid",
    "'/studies/' || study.study_instance_uid || '/series/' || series.series_instance_uid"
    " || '/instances/' || instance.sop_instance_uid",
)


def document(
    level: Level,
    *,
    above: Iterable[Level],
    asked: Iterable[str],
    everything: bool,
    root: str | None,
) -> str:
    """Return the expression of a result's DICOM JSON.

    Parameters
    ----------
    above
        Levels above `level` whose default attributes are returned too.
    asked
        Tags returned beside the defaults; those below `level` are left out.
    everything
        Return all that the index has.
    root
        Placeholder of the URL that RetrieveURL begins with; None: no RetrieveURL.
    """
    full = {level, *above}
    tags = {tag: level_of(tag) for tag in (*_UIDS[:level], *asked)}
    parts = []
    for each in Level:
        if each > level:
            break
        table = _TABLES[each]
        computed = set(_COMPUTED_DEFAULTS[each]) if each in full else set()
        plain = set(_DEFAULTS[each]) if each in full else set()
        for tag, of in tags.items():
            if tag in _COMPUTED and of == each:
                computed.add(tag)
            elif of == each:
                plain.add(tag)
        if everything:
            parts.append(f"{table}.attributes")
        elif each is Level.STUDY and each in full:
            parts.append(f"jsonb_strip_nulls({_object({_TIMEZONE_OFFSET: _raw(table)})})")
        pairs = {tag: _element(table, tag) for tag in plain - {_RETRIEVE_URL}}
        parts.extend(_objects(pairs | {tag: _COMPUTED[tag] for tag in computed}))
    if root is not None:
        parts.append(_object({_RETRIEVE_URL: _one("UR", f"CAST({root} AS text) || {_URLS[level]}")}))
    return " || ".join(parts)


def element(tag: str) -> str:
    """Return the expression of one element of a result's DICOM JSON, NULL where it is not there."""
    return _COMPUTED[tag] if tag in _COMPUTED else f"{_TABLES[level_of(tag)]}.attributes -> '{tag}'"


def _whole_text(column: str, tag: str) -> str:
    """Return the expression of an element's values, joined by backslashes: the column, where that has all of them."""
    table = column.partition(".")[0]
    values = f"jsonb_array_elements_text({table}.attributes -> '{tag}' -> 'Value') AS value"
    whole = f"(SELECT string_agg(coalesce(value, ''), '\\') FROM {values})"  # noqa: S608
    return f"CASE WHEN length({column}) < {MOST_CHARACTERS} THEN {column} WHEN {column} IS NOT NULL THEN {whole} END"


def _number_text(column: str, tag: str) -> str:
    """Return the expression of an element's number, or of what it has instead of one."""
    table = column.partition(".")[0]
    return f"coalesce(CAST({column} AS text), {table}.attributes #>> '{{{tag},Value,0}}')"


PLAIN: Final[Mapping[str, str]] = {
    "0020000D": "study.study_instance_uid",
    "0020000E": "series.series_instance_uid",
    "00080016": "instance.sop_class_uid",
    "00080018": "instance.sop_instance_uid",
    "00083002": "instance.transfer_syntax_uid",
    **{
        tag: _whole_text(column, tag)
        for tag, column in {
            "00100020": "study.patient_id",
            "00080050": "study.accession_number",
            "00200010": "study.study_id",
            "00081030": "study.study_description",
            "00080060": "series.modality",
            "0008103E": "series.series_description",
            "00400512": "instance.container_identifier",
        }.items()
    },
    **{
        tag: _number_text(column, tag)
        for tag, column in {"00200011": "series.series_number", "00200013": "instance.instance_number"}.items()
    },
}
"""Attributes whose values a column has as they are, as expressions of their text.

The DICOM JSON of an instance often has many kilobytes, which PostgreSQL decompresses for each element taken from it.
"""


def needs_related(expression: str) -> bool:
    """Whether a result's expression counts what is related to its study, so that the statement needs `RELATED`."""
    return "related." in expression


def _raw(table: str) -> str:
    return f"{table}.attributes -> '{_TIMEZONE_OFFSET}'"


def _element(table: str, tag: str) -> str:
    return f"""coalesce({table}.attributes -> '{tag}', '{{"vr":"{vr_of(tag)}"}}')"""


def _objects(pairs: Mapping[str, str]) -> list[str]:
    tags = sorted(pairs)
    return [
        _object({tag: pairs[tag] for tag in tags[start : start + _PAIRS_A_CALL]})
        for start in range(0, len(tags), _PAIRS_A_CALL)
    ]


def _object(pairs: Mapping[str, str]) -> str:
    arguments = ", ".join(f"'{tag}', {value}" for tag, value in pairs.items())
    return f"jsonb_build_object({arguments})"

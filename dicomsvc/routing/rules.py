"""Rules: what of the settings asks of an instance, as conditions on the index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom._uid_dict import UID_dictionary
from sqlalchemy import Connection

from dicomsvc.config import RoutingRule, Settings
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import BadRequest, ConfigurationError
from dicomsvc.store import Change
from dicomsvc.store.query import Key, Level, parse_attribute, parse_match
from dicomsvc.store.query.conditions import (
    COLUMNS,
    Parameters,
    column_condition,
    element_condition,
    sequence_condition,
)

OWN_SOURCES: Final = ("analysis", "clicks", "verdict", "consensus", "report")
"""Sources of what this node makes of what it has."""
_SOURCES: Final = frozenset({"dimse", "stow", "import", "conversion", "reindex", *OWN_SOURCES})
_TABLES: Final = {Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
_RESULT_WORDS: Final = (
    "Segmentation",
    "SRStorage",
    "Annotations",
    "ParametricMap",
    "PresentationState",
    "KeyObjectSelection",
    "Encapsulated",
    "Report",
    "Structured",
    "Measurements",
    "SurfaceScan",
)
RESULT_CLASSES: Final = frozenset(
    uid
    for uid, (_, kind, _, _, keyword) in UID_dictionary.items()
    if kind == "SOP Class"
    and "Storage" in keyword
    and not keyword.startswith("Storage")
    and any(word in keyword for word in _RESULT_WORDS)
) | {_LABEL_MAP_SEGMENTATION}
"""SOP classes of what is found in images, said of them, or beside them."""
_BY_KEYWORD: Final = {keyword: uid for uid, (_, kind, _, _, keyword) in UID_dictionary.items() if kind == "SOP Class"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the settings whose words have been understood."""

    settings: RoutingRule
    sop_classes: frozenset[str]
    keys: tuple[Key, ...]

    @property
    def name(self) -> str:
        return self.settings.name

    def takes(self, change: Change) -> bool:
        """Whether what the change feed says of an instance is what the rule asks for."""
        asked = self.settings
        if self.sop_classes and change.sop_class_uid not in self.sop_classes:
            return False
        if asked.kind is not None and (asked.kind == "result") is not (change.sop_class_uid in RESULT_CLASSES):
            return False
        if asked.sources and change.source not in asked.sources:
            return False
        if asked.calling_ae_titles and not (change.source == "dimse" and change.sender in asked.calling_ae_titles):
            return False
        return asked.own_results or change.source not in OWN_SOURCES

    def matching(self, connection: Connection, sop_instance_uids: Sequence[str]) -> set[str]:
        """Return those of the stored instances whose attributes are what the rule asks for."""
        if not sop_instance_uids:
            return set()
        parameters = Parameters()
        uids = parameters.add(list(sop_instance_uids))
        conditions = [f"instance.sop_instance_uid = ANY(CAST({uids} AS text[]))"]
        if self.settings.kind == "image":
            conditions.append("instance.number_of_frames > 0")
        conditions += [_condition(key, parameters) for key in self.keys]
        # What the settings say is in the parameters.
        statement = (
            "SELECT instance.sop_instance_uid FROM instance JOIN series ON series.id = instance.series_key "  # noqa: S608
            f"JOIN study ON study.id = series.study_key WHERE {' AND '.join(conditions)}"
        )
        return {str(row[0]) for row in connection.exec_driver_sql(statement, parameters.values)}


def read_rules(settings: Settings) -> tuple[Rule, ...]:
    """Return the rules that are enabled.

    Raises
    ------
    ConfigurationError
        When one names a SOP class, an attribute, a value or a source that there is not.
    """
    return tuple(_read(rule) for rule in settings.routing.rules if rule.enabled)


def _read(rule: RoutingRule) -> Rule:
    unknown = sorted(set(rule.sources) - _SOURCES)
    if unknown:
        known = ", ".join(sorted(_SOURCES))
        raise ConfigurationError(f"rule {rule.name}: there is no source {unknown[0]!r}; there are {known}")
    asked: dict[str, str] = dict(rule.match)
    if rule.modalities:
        asked["Modality"] = "\\".join(rule.modalities)
    if rule.study_description is not None:
        asked["StudyDescription"] = rule.study_description
    try:
        keys = tuple(_key(name, value) for name, value in asked.items())
    except BadRequest as error:
        raise ConfigurationError(f"rule {rule.name}: {error}") from None
    return Rule(rule, frozenset(_sop_class(rule, name) for name in rule.sop_classes), keys)


def _key(name: str, value: str) -> Key:
    attribute = parse_attribute(name)
    return Key(attribute, parse_match(name, attribute.vr, value))


def _sop_class(rule: RoutingRule, name: str) -> str:
    uid = _BY_KEYWORD.get(name) or _BY_KEYWORD.get(f"{name}Storage") or name
    if not is_valid_uid(uid):
        raise ConfigurationError(f"rule {rule.name}: {name!r} is neither the keyword nor the UID of a SOP class")
    return uid


def _condition(key: Key, parameters: Parameters) -> str:
    if key.match is None:
        return "true"
    attribute = key.attribute
    document = f"{_TABLES[attribute.level]}.attributes"
    if len(attribute.path) > 1:
        return sequence_condition(document, [(attribute.path, attribute.vr, key.match)], parameters)
    if attribute.tag in COLUMNS:
        return column_condition(COLUMNS[attribute.tag], key.match, parameters)
    return element_condition(document, attribute, key.match, parameters)


def describe(rule: RoutingRule) -> Mapping[str, object]:
    """Return a rule as JSON, without what it leaves open."""
    return rule.model_dump(mode="json", exclude_defaults=True) | {"enabled": rule.enabled}

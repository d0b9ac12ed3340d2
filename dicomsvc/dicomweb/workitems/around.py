"""What the store knows of the studies and series that work items refer to."""

import json
from collections.abc import Iterable
from typing import Any, Final

from dicomsvc.dicomweb.workitems.mapping import Surroundings
from dicomsvc.jobs import WorkItem
from dicomsvc.store import Store
from dicomsvc.store.query import Key, Level, Query, parse_attribute, search
from dicomsvc.store.query.values import Texts

_STUDY: Final = parse_attribute("StudyInstanceUID")
_SERIES: Final = parse_attribute("SeriesInstanceUID")
_MOST_INSTANCES: Final = 2000


def surroundings(store: Store, items: Iterable[WorkItem], root: str, *, references: bool = True) -> Surroundings:
    """Return what the work items refer to; ``references``: the instances of their series, too."""
    listed = list(items)
    studies = {item.study_instance_uid for item in listed if item.study_instance_uid}
    series = {str(uid) for item in listed if not item.outside for uid in _series(item)} if references else set()
    found = _ask(store, Level.STUDY, _STUDY, studies)
    instances: dict[str, list[tuple[str, str]]] = {}
    for document in _ask(store, Level.INSTANCE, _SERIES, series):
        pair = (_value(document, "00080016"), _value(document, "00080018"))
        instances.setdefault(_value(document, "0020000E"), []).append(pair)
    return Surroundings(root, {_value(document, "0020000D"): document for document in found}, instances)


def _series(item: WorkItem) -> list[Any]:
    named = [item.inputs.get("series_instance_uid")]
    if not item.outputs.get("instances"):
        named.append(item.outputs.get("series_instance_uid"))
    return [uid for uid in named if uid]


def _ask(store: Store, level: Level, attribute: Any, uids: set[str]) -> list[dict[str, Any]]:
    if not uids:
        return []
    keys = (Key(attribute, Texts(tuple(sorted(uids)), wildcards=False)),)
    page = search(store.engine, level, Query(keys=keys, limit=_MOST_INSTANCES))
    return [json.loads(document) for document in page.documents]


def _value(document: dict[str, Any], tag: str) -> str:
    values = document.get(tag, {}).get("Value")
    return str(values[0]) if values else ""

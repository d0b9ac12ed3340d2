"""What a peer tells of its holdings: which SOP classes a study, series or instance has, in which series instances are.

Queries are hierarchical (PS3.4 C.4.1.3.1.1), so that every archive understands them.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from copy import deepcopy
from typing import Final

from pydicom import Dataset
from pydicom.multival import MultiValue

from dicomsvc.dicom.uids import is_storage_class, is_valid_uid
from dicomsvc.dimse.information_models import STUDY_ROOT_FIND
from dicomsvc.dimse.proposals import MOST_CLASSES, USUAL_SOP_CLASSES
from dicomsvc.dimse.querying import Queries
from dicomsvc.dimse.requestor import Peer
from dicomsvc.errors import DicomsvcError

_log = logging.getLogger(__name__)

_MOST_SERIES: Final = 500


def sop_classes_of(peer: Peer, keys: Dataset) -> tuple[str, ...]:
    """Return the SOP classes of what ``keys`` names, as the peer tells when it is asked; else the usual ones.

    ``keys``: Query/Retrieve Level (STUDY, SERIES or IMAGE) and the unique keys down to it.
    """
    try:
        with Queries(peer, STUDY_ROOT_FIND) as queries:
            told = _first(filter(is_storage_class, _told(queries, keys)), MOST_CLASSES)
    except DicomsvcError as error:
        _log.info("%s does not tell which SOP classes it has: %s", peer.called_ae_title, error)
        return USUAL_SOP_CLASSES
    return told or USUAL_SOP_CLASSES


def series_of(peer: Peer, keys: Dataset, sop_instance_uids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return by series which of these instances it has, as the peer tells.

    ``keys`` is as in `sop_classes_of`; what it names has the instances.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        with Queries(peer, STUDY_ROOT_FIND) as queries:
            for uid in _series(queries, keys):
                query = _asking(keys, "IMAGE")
                query.SeriesInstanceUID, query.SOPInstanceUID = uid, list(sop_instance_uids)
                told = _values(queries.find(query), "SOPInstanceUID")
                found[uid] = _first((each for each in told if each in sop_instance_uids), len(sop_instance_uids))
    except DicomsvcError as error:
        _log.info("%s does not tell where its instances are: %s", peer.called_ae_title, error)
    return {uid: instances for uid, instances in found.items() if instances}


def _first(values: Iterable[str], most: int) -> tuple[str, ...]:
    """Return the first distinct values, having read all: the rest of a query's responses is in the way of the next."""
    kept: dict[str, None] = {}
    for value in values:
        if len(kept) < most:
            kept[value] = None
    return tuple(kept)


def _told(queries: Queries, keys: Dataset) -> Iterator[str]:
    """Yield the SOP classes, some of them again and again."""
    if keys.QueryRetrieveLevel == "STUDY":
        studies = queries.find(_asking(keys, "STUDY", "SOPClassesInStudy"))
        in_study = _first(_values(studies, "SOPClassesInStudy"), MOST_CLASSES)
        if in_study:
            yield from in_study
            return
    for uid in _series(queries, keys):
        of_series = _asking(keys, "IMAGE", "SOPInstanceUID", "SOPClassUID")
        of_series.SeriesInstanceUID = uid
        yield from _values(queries.find(of_series), "SOPClassUID")


def _series(queries: Queries, keys: Dataset) -> tuple[str, ...]:
    if keys.QueryRetrieveLevel != "STUDY":
        return (keys.SeriesInstanceUID,)
    told = _values(queries.find(_asking(keys, "SERIES", "SeriesInstanceUID")), "SeriesInstanceUID")
    return _first(told, _MOST_SERIES)


def _asking(keys: Dataset, level: str, *keywords: str) -> Dataset:
    """Return the unique keys in ``keys`` with attributes that are asked for, at another level."""
    query = deepcopy(keys)
    query.QueryRetrieveLevel = level
    for keyword in keywords:
        if keyword not in query:
            setattr(query, keyword, None)
    return query


def _values(found: Iterable[Dataset], keyword: str) -> Iterator[str]:
    for result in found:
        yield from uids_in(result, keyword)


def uids_in(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the UIDs that an attribute of a peer's data set has; what is none is left out, whatever its VR."""
    value = ds.get(keyword)
    values = value if isinstance(value, MultiValue) else (value,)
    return tuple(str(each) for each in values if isinstance(each, str) and is_valid_uid(each))

"""Searching the index: matching keys in, finished DICOM JSON documents out.

One engine for QIDO-RS and C-FIND. Rules: PS3.4 C.2.2.2 (matching), C.4.1 (Study Root, relational), PS3.18 10.6 (what is
returned). Each key becomes a condition on an indexed column where there is one, on the data set's JSON otherwise.
"""

from dicomsvc.store.levels import PATIENT_TAGS
from dicomsvc.store.query.documents import PLAIN
from dicomsvc.store.query.keys import Attribute, Level, level_of, parse_attribute, vr_of
from dicomsvc.store.query.listing import PATIENT_COUNTS, Listed, Listing, list_results, read_pages
from dicomsvc.store.query.search import Key, Page, Query, search
from dicomsvc.store.query.values import Match, parse_match

__all__ = [
    "PATIENT_COUNTS",
    "PATIENT_TAGS",
    "PLAIN",
    "Attribute",
    "Key",
    "Level",
    "Listed",
    "Listing",
    "Match",
    "Page",
    "Query",
    "level_of",
    "list_results",
    "parse_attribute",
    "parse_match",
    "read_pages",
    "search",
    "vr_of",
]

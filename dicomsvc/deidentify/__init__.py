"""De-identification of instances that go out (PS3.15 Annex E).

In goes a Part 10 file (`Deidentifier.write`); out comes another one, written front to back in flat memory, without what
names a person, or nothing where the object must not go out at all: label images, encapsulated documents, pixels with
burned in text. The same profile and secret give the same pseudonyms, UIDs and date offsets, so that what belongs
together still does. Nothing here makes data anonymous in the sense of a law; docs/deidentification.md says what stays.
"""

from dicomsvc.deidentify.copies import copy_of
from dicomsvc.deidentify.deidentifier import Deidentified, Deidentifier, deidentifier
from dicomsvc.deidentify.profile import BASIC, Profile, profile_named

__all__ = ["BASIC", "Deidentified", "Deidentifier", "Profile", "copy_of", "deidentifier", "profile_named"]

"""Pseudonyms, UIDs, dates and the secret they come from."""

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dicomsvc.config import DeidentifyProfileSettings, DeidentifySettings, Settings
from dicomsvc.deidentify import Profile, profile_named
from dicomsvc.deidentify.dates import moved
from dicomsvc.deidentify.pseudonyms import Pseudonyms, is_well_known
from dicomsvc.deidentify.secret import site_secret
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import ConfigurationError

ONE = Pseudonyms(b"one secret of a site, long enough", "basic")
UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))


@given(UIDS, UIDS)
def test_uids_are_valid_repeatable_and_distinct(uid: str, other: str) -> None:
    made = ONE.uid(uid)
    assert is_valid_uid(made, strict=True) and made.startswith("2.25.") and len(made) <= 64
    assert made == Pseudonyms(b"one secret of a site, long enough", "basic").uid(uid)
    assert (made == ONE.uid(other)) == (uid == other)
    number = int(made[5:])
    assert (number >> 76) & 0xF == 8 and (number >> 62) & 0x3 == 2


@given(st.text(max_size=40))
def test_identifiers_fit_every_value_representation(text: str) -> None:
    made = ONE.identifier(text)
    assert made == ONE.identifier(f"  {text} ")
    assert made == "" if not text.split() else len(made) == 16 and made.isalnum() and made.isascii()


def test_another_secret_or_profile_gives_others() -> None:
    made = {
        (each.uid("1.2.3"), each.identifier("P-1"), each.days("P-1"))
        for each in (
            ONE,
            Pseudonyms(b"two secrets of a site, long enough", "basic"),
            Pseudonyms(b"one secret of a site, long enough", "research"),
        )
    }
    assert len({uid for uid, _, _ in made}) == len({identifier for _, identifier, _ in made}) == 3


def test_what_the_standard_names_is_no_identity() -> None:
    assert is_well_known("1.2.840.10008.1.2.4.50") and is_well_known("1.2.840.10008.5.1.4.1.1.66.7")
    assert not is_well_known("1.2.840.10008.1.4.9.19570404") and not is_well_known("1.2.3")


@given(st.dates(date(1000, 1, 1), date(9900, 1, 1)), st.dates(date(1000, 1, 1), date(9900, 1, 1)), st.integers(1, 3653))
def test_moved_dates_keep_their_distance(first: date, second: date, days: int) -> None:
    new = [moved("DA", f"{each:%Y%m%d}".zfill(8), -days) for each in (first, second)]
    assert new[0] is not None and new[1] is not None
    parsed = [date(int(each[:4]), int(each[4:6]), int(each[6:])) for each in new if each]
    assert parsed[1] - parsed[0] == second - first and parsed[0] != first
    assert moved("DT", f"{first:%Y%m%d}".zfill(8) + "101112.5+0800", -days) == f"{new[0]}101112.5+0800"


@pytest.mark.parametrize(
    ("vr", "value", "new"),
    [
        ("DA", "2026.01.02", "20260101"),
        ("DA", "PATMARKER", None),
        ("DA", "20261399", None),
        ("DA", "", ""),
        ("DT", "2026", "2026"),
        ("DT", "202601", "202601"),
        ("DT", "20260101", "20251231"),
        ("DT", "2026010112PATMARKER", None),
        ("TM", "10:11:12", "101112"),
        ("TM", "1011", "1011"),
        ("TM", "noon", None),
        ("DA", "00010101", None),
    ],
)
def test_what_is_no_date_is_not_kept(vr: str, value: str, new: str | None) -> None:
    assert moved(vr, value, -1) == new


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    secret = site_secret(settings)
    path = tmp_path / "data" / "deidentify.secret"
    assert path.stat().st_mode & 0o777 == 0o600 and len(secret) == 64
    assert site_secret(settings) == secret
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="0600"):
        site_secret(settings)


def test_a_configured_secret_goes_first_and_may_not_be_short(tmp_path: Path) -> None:
    long = "0123456789abcdef0123456789abcdef"
    assert site_secret(Settings(data=tmp_path, deidentify=DeidentifySettings(secret=SecretStr(long)))) == long.encode()
    with pytest.raises(ConfigurationError, match="less than 32") as error:
        site_secret(Settings(data=tmp_path, deidentify=DeidentifySettings(secret=SecretStr("short"))))
    assert "short" not in str(error.value)


def test_profiles_come_from_the_settings() -> None:
    options = DeidentifyProfileSettings(retain_uids=True, retain_modified_dates=True)
    settings = Settings(deidentify=DeidentifySettings(profiles={"trial": options}))
    profile = profile_named(settings, "trial")
    assert profile == Profile("trial", retain_uids=True, retain_modified_dates=True)
    assert [code.value for code in profile.method_codes] == "113100 113101 113103 113104 113107 113110".split()
    assert profile_named(settings, "basic") == Profile()
    with pytest.raises(ConfigurationError):
        profile_named(settings, "other")
    with pytest.raises(ValueError, match="exclude"):
        DeidentifyProfileSettings(retain_full_dates=True, retain_modified_dates=True)

"""docs/models.md names everything that a model.toml may name."""

import re
from pathlib import Path

import pytest

from dicomsvc.ai.catalogue import manifest_file
from dicomsvc.ai.catalogue.fields import Fields, parse_document
from dicomsvc.ai.catalogue.reference import describe_reference, reference_document
from dicomsvc.errors import InvalidModel

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")


def named() -> set[str]:
    return set(re.findall(r"`([a-z_0-9]+)`", PAGE))


def test_every_kind_tensor_setting_statistic_and_step_is_in_the_page() -> None:
    document = reference_document()
    words = {*document["kinds"], *document["statistics"], *document["steps"]}
    for kind in document["kinds"].values():
        words |= {*kind["tensors"], *kind["settings"]}
    assert words <= named(), words - named()
    assert all(word in describe_reference() for word in words)


def test_every_key_is_in_the_page() -> None:
    source = Path(manifest_file.__file__).read_text(encoding="utf-8")
    keys = set(re.findall(r"\.(?:text|choice|number|integer|truth|texts|numbers|table)\(\s*\"([a-z0-9_]+)\"", source))
    assert {"title", "mpp", "stride", "colour", "n"} <= keys
    assert keys - {"settings", "input", "output", "name"} <= named() | {"settings"}, keys - named()


def test_what_is_unknown_is_answered_with_what_is_known() -> None:
    fields = Fields.top(parse_document("x.toml", b"a = 1\nb = 2\n"))
    assert fields.number("a") == 1
    with pytest.raises(InvalidModel, match="x\\.toml:2: b is not known here; known are a"):
        fields.done()


def test_the_page_tells_what_each_kind_becomes() -> None:
    for name, kind in reference_document()["kinds"].items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` | `"))
        assert row.split("|")[-2].strip() == ", ".join(kind["objects"])

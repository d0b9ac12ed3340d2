"""Bytes without the name of their character set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.reports.text.charset import text_from

CHINESE = "左肾透明细胞型肾细胞癌，切缘阴性，淋巴结未见转移，脉管内未见癌栓。"
TRADITIONAL = "左腎透明細胞癌，切緣未見腫瘤侵犯，淋巴結未見轉移。"
WESTERN = "Tumor 2.3 cm, 5 µm sections, naïve margins – negative."


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (CHINESE, "utf-8"),
        (CHINESE, "utf-8-sig"),
        (CHINESE, "utf-16"),
        (CHINESE, "utf-32"),
        (CHINESE, "gb18030"),
        (TRADITIONAL, "big5"),
        (WESTERN, "utf-8"),
        (WESTERN, "cp1252"),
        (WESTERN, "utf-16-le"),
        (WESTERN, "utf-16-be"),
    ],
)
def test_the_text_is_what_was_written(text: str, charset: str) -> None:
    assert text_from(text.encode(charset)) == text


@given(st.binary())
def test_any_bytes_give_some_text(content: bytes) -> None:
    assert isinstance(text_from(content), str)

"""Text of documents: PDF, RTF, HTML and plain text, or why there is none."""

import pytest

from dicomsvc.dicom.codecs import codec_named
from dicomsvc.errors import BadRequest, TooLarge, UnsupportedMediaType
from dicomsvc.reports import attachment
from dicomsvc.reports.attachment import plain_text, text_of
from tests.unit.reports.exchange_case import pdf, rtf


def test_text_layer_of_a_pdf_is_read() -> None:
    assert text_of(pdf("Left kidney, grade 2"), "application/pdf").strip() == "Left kidney, grade 2"


def test_first_bytes_go_before_the_media_type() -> None:
    assert "grade 2" in text_of(pdf("grade 2"), "application/octet-stream")


def test_scanned_pdf_is_refused_with_the_reason() -> None:
    with pytest.raises(BadRequest, match="no text layer"):
        text_of(pdf(None), "application/pdf")


@pytest.mark.parametrize("content", [b"%PDF-1.7 cut short", pdf("x")[:200], b"%PDF-" + bytes(range(256)) * 40])
def test_damaged_pdf_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequest, match="the PDF"):
        text_of(content, "application/pdf")


def test_chinese_rtf_is_read_by_its_code_page() -> None:
    assert text_of(rtf("左肾透明细胞癌\nGrade 2"), "application/rtf").splitlines() == ["左肾透明细胞癌", "Grade 2"]


def test_raw_bytes_in_rtf_are_read_by_its_code_page() -> None:
    content = b"{\\rtf1\\ansi\\ansicpg936 " + "切缘阴性".encode("gb18030") + b"}"
    assert text_of(content, "text/rtf").strip() == "切缘阴性"


def test_half_a_surrogate_pair_in_rtf_does_no_harm() -> None:
    text = text_of(b"{\\rtf1\\ansi\\uc0 grade \\u-10179 2}", "text/rtf")
    assert text.encode("utf-8").startswith(b"grade ")


def test_rtf_without_text_is_refused() -> None:
    with pytest.raises(BadRequest, match="no text"):
        text_of(b"{\\rtf1 }", "text/rtf")


def test_html_loses_its_tags_and_scripts_and_keeps_its_lines() -> None:
    markup = "<div><p>Left&nbsp;kidney</p><p>pT1 &lt; pT2</p><!-- note --><script>run()</script><b>Gr</b>ade</div>"
    assert plain_text(markup) == "Left kidney\npT1 < pT2\nGrade"


def test_text_comes_in_the_character_set_it_says_or_not_at_all() -> None:
    assert text_of("癌".encode("gb18030"), "text/plain", "gb18030") == "癌"
    assert text_of(b"\xff\xfe" + "癌".encode("utf-16-le"), "text/plain") == "癌"
    with pytest.raises(BadRequest, match="character set"):
        text_of("癌".encode("gb18030"), "text/plain")
    with pytest.raises(BadRequest, match="character set"):
        text_of("癌".encode(), "text/plain", "no-such-charset")


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "utf-7", "hex", "\0", ""])
def test_codecs_that_are_no_character_sets_are_not_used(charset: str) -> None:
    assert codec_named(charset) is None
    assert text_of(b"plain", "text/plain", charset) == "plain"


def test_older_chinese_sets_are_read_as_the_one_that_holds_them() -> None:
    assert text_of("镕 €".encode("gb18030"), "text/plain", "GB2312") == "镕 €"


def test_other_documents_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        text_of(b"PK\x03\x04", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")


def test_document_past_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "LARGEST_BYTES", 100)
    with pytest.raises(TooLarge):
        text_of(b"x" * 101, "text/plain")


def test_document_that_takes_too_long_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "_SECONDS", 0.001)
    with pytest.raises(BadRequest, match="seconds"):
        text_of(pdf("x"), "application/pdf")

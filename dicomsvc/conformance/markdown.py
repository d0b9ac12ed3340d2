"""The statement as a page of Markdown."""

from collections.abc import Iterator

from dicomsvc.conformance.document import Section, Table


def as_markdown(document: Section) -> str:
    """Return a document with numbered headings and tables."""
    return "\n".join((f"# {document.title}", "", *_content(document, ""))).rstrip() + "\n"


def _content(section: Section, number: str) -> Iterator[str]:
    for paragraph in section.paragraphs:
        yield from (paragraph, "")
    for table in section.tables:
        yield from _table(table)
    for position, below in enumerate(section.sections, start=1):
        its_number = f"{number}{position}"
        yield from (f"{'#' * (its_number.count('.') + 2)} {its_number} {below.title}", "")
        yield from _content(below, f"{its_number}.")


def _table(table: Table) -> Iterator[str]:
    yield from (f"*{table.title}*", "")
    yield _row(table.columns)
    yield _row(["---"] * len(table.columns))
    yield from map(_row, table.rows)
    yield ""


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

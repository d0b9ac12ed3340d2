"""What an import is asked to do, as it stands in a work item's inputs."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomsvc.errors import BadRequest


class ImportOptions(BaseModel):
    """How slides are converted; DICOM files are stored as they are, whatever stands here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metadata: dict[str, Any] = Field(default_factory=dict)
    """Patient, study, specimen and stain (docs/conversion.md)."""
    mpp: float | None = Field(None, gt=0, lt=1000)
    """Micrometres a pixel at full size, when the file does not say."""
    deidentify: bool = False
    """Leave out label, overview, scanner properties and dates."""
    keep_dates: bool = False
    """With ``deidentify``: keep acquisition and study dates."""
    include_label: bool = True
    include_overview: bool = True
    include_thumbnail: bool = True


def read_options(document: Mapping[str, Any]) -> ImportOptions:
    """Check options; entries that are ``None`` count as not given.

    Raises
    ------
    BadRequest
        When one is unknown or wrong; the message names it, never its value.
    """
    try:
        return ImportOptions(**{key: value for key, value in document.items() if value is not None})
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        lines = (f"{'.'.join(str(part) for part in problem['loc'])[:80]}: {problem['msg']}" for problem in problems)
        raise BadRequest(f"import options: {'; '.join(lines)}") from None


def read_options_json(text: str) -> ImportOptions:
    """Check options that came as text.

    Raises
    ------
    BadRequest
        When the text is no JSON object, or see `read_options`.
    """
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("import options are no JSON") from None
    if not isinstance(document, dict):
        raise BadRequest("import options are no JSON object")
    return read_options(document)

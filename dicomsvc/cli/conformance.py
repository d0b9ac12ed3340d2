"""``dicomsvc conformance``: the DICOM Conformance Statement."""

import json
import sys
from dataclasses import asdict

from dicomsvc.cli.output import JsonFlag
from dicomsvc.config import load_settings
from dicomsvc.conformance import as_markdown, statement


def conformance(as_json: JsonFlag = False) -> None:
    """Print the DICOM Conformance Statement (PS3.2) of this version with these settings, as Markdown or JSON."""
    document = statement(load_settings())
    sys.stdout.write(json.dumps(asdict(document), indent=1) + "\n" if as_json else as_markdown(document))

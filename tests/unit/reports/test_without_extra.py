"""A service without the extra that reads reports."""

import subprocess
import sys

_WITHOUT = """
import sys
for name in ("spacy", "re2", "hl7", "fhir", "fhir.resources", "pypdf", "striprtf", "pyarrow"):
    sys.modules[name] = None
import dicomsvc.cli, dicomsvc.cli.role, dicomsvc.web, dicomsvc.service.handlers, dicomsvc.reports.intake.upkeep
from dicomsvc.errors import ConfigurationError
from dicomsvc.reports.intake.structuring import require_languages
try:
    require_languages()
except ConfigurationError as error:
    print(error)
"""


def test_it_starts_and_says_what_to_install_when_reports_are_used() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "reports need an extra: pip install 'dicomsvc[nlp]'"

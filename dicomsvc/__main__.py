"""``python -m dicomsvc``."""

from dicomsvc.cli import main

main()

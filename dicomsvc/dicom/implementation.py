"""What this implementation calls itself, in files and on the network (PS3.7 D.3.3.2, PS3.10 7.1)."""

from typing import Final

from dicomsvc import __version__

IMPLEMENTATION_CLASS_UID: Final = "2.25.128814439097991515539313509924549264997"
IMPLEMENTATION_VERSION_NAME: Final = f"DICOMSVC_{__version__}"[:16]

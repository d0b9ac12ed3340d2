"""De-identified copies of stored files, for as long as somebody needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomsvc.deidentify.deidentifier import Deidentified, Deidentifier
from dicomsvc.store import Store
from dicomsvc.store.digest import require_digest


@contextmanager
def copy_of(
    store: Store, deidentifier: Deidentifier, source: Path, sha256: bytes
) -> Iterator[tuple[Path, Deidentified] | None]:
    """Yield a copy of a stored file, which lies in the spool until the end; None: the object must not go out.

    Raises
    ------
    DamagedFile
        When the file has not the digest that it came with; a copy would have one of its own, and hide that.
    DicomsvcError, OSError
        When it cannot be read or de-identified.
    """
    require_digest(source, sha256)
    with store.spool() as copy:
        made = deidentifier.write(source, copy)
        yield None if made is None else (copy.path, made)

"""De-identified copies of stored files, for as long as somebody needs them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomsvc.deidentify.deidentifier import Deidentified, Deidentifier
from dicomsvc.errors import DamagedFile
from dicomsvc.store import Store


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
    with source.open("rb", buffering=0) as file:
        if hashlib.file_digest(file, "sha256").digest() != sha256:
            raise DamagedFile(f"the file {source.name} is damaged; restore it from a backup")
    with store.spool() as copy:
        made = deidentifier.write(source, copy)
        yield None if made is None else (copy.path, made)

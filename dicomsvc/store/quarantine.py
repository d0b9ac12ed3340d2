"""What must not enter but must not be lost either: other content under a known UID, damaged files."""

import logging
import os
from pathlib import Path

from sqlalchemy import Engine

from dicomsvc.dicom.part10 import Instance
from dicomsvc.errors import OutOfResources
from dicomsvc.store.database import database_errors
from dicomsvc.store.layout import Layout, file_key, sync_folder
from dicomsvc.store.spool import SpoolFile
from dicomsvc.store.tables import audit

_log = logging.getLogger(__name__)


def quarantine_conflict(layout: Layout, engine: Engine, file: SpoolFile, instance: Instance, who: str) -> Path:
    """Keep a conflicting file, once however often it is sent, and record it."""
    digest = file.digest().hex()
    target = layout.quarantine / f"{file_key(instance.sop_instance_uid)}-{digest}.dcm"
    if target.exists():
        return target
    try:
        os.link(file.path, target)
        sync_folder(layout.quarantine)
    except FileExistsError:
        return target
    except OSError as error:
        raise OutOfResources(f"quarantine cannot be written: {os.strerror(error.errno or 0)}") from error
    _log.warning("other content came under SOP Instance UID %s; kept as %s", instance.sop_instance_uid, target.name)
    with database_errors(), engine.begin() as connection:
        connection.execute(
            audit.insert().values(
                who=who,
                action="conflict",
                study_instance_uid=instance.study_instance_uid,
                series_instance_uid=instance.series_instance_uid,
                sop_instance_uid=instance.sop_instance_uid,
                detail={"quarantined": target.name},
            )
        )
    return target

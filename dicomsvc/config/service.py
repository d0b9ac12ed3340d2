"""Settings of the database, files, work items, models and users."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr

from dicomsvc.config.section import Section


class DatabaseSettings(Section):
    url: SecretStr | None = None
    """PostgreSQL URL, e.g. ``postgresql://user:password@host/dicomsvc``. Unset: an own server under the data folder."""
    pool_size: int = Field(8, ge=1)
    """Connections that one process holds open at most."""


class StoreSettings(Section):
    disk_reserve_mb: int = Field(1024, ge=0)
    """Storing is refused (0xA700, 503) when less than this would be left free on the store's file system."""
    max_instance_gb: float = Field(64, gt=0)
    """Largest instance accepted."""
    max_header_mb: int = Field(256, gt=0)
    """Largest data set before the pixel data that is parsed."""
    verify_days: float = Field(30, ge=0, le=36500)
    """Every file is read again, and compared with its digest, within this time; 0: only by ``dicomsvc verify``."""
    verify_mb_per_second: float = Field(50, gt=0)
    """How fast files are read for that, by all workers together."""


class JobSettings(Section):
    concurrency: int = Field(1, ge=1)
    """Work items that one worker runs at the same time."""
    attempts: int = Field(3, ge=1)
    """How often a work item is tried when its process dies."""


class IngestSettings(Section):
    watch: tuple[Path, ...] = ()
    """Folders whose new slides are imported."""
    settle_seconds: float = Field(5, gt=0)
    """A file in a watched folder is taken once it has not changed for this long."""
    upload_keep_hours: float = Field(48, gt=0)
    """Unfinished uploads are removed after this time without a byte."""


class TritonSettings(Section):
    url: str | None = None
    """gRPC address of a Triton server, ``HOST:PORT``. Unset: an own server, on loopback, from the set-up's runtime."""
    tls: bool = False
    """Speak TLS to a configured server."""
    models: Path | None = None
    """Folder of models (``triton_models/``); unset: the one that comes with dicomsvc."""
    runtime: Path | None = None
    """Folder of the own server's runtime environment; unset: ``triton`` in this Python's environment."""
    instances: int = Field(0, ge=0)
    """Copies of each model that the own server runs at the same time; 0: one for each core."""
    memory_mb: int = Field(4096, ge=512)
    """Memory that the own server may use before it is started again; no process of a model gets more."""
    timeout_seconds: float = Field(120, gt=0)
    """Longest time for the answer to one batch."""
    in_process: bool = False
    """Run models in the worker by ONNX Runtime instead; said in each result's provenance."""


class AuthSettings(Section):
    tokens: Mapping[str, SecretStr] = Field(default_factory=dict)
    """User name to the SHA-256 (hex) of that user's bearer token; ``dicomsvc token NAME`` makes one."""

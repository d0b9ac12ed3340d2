"""The tree of all settings, and where its values come from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dicomsvc.config.addresses import is_loopback, split_address
from dicomsvc.config.deidentify import DeidentifySettings
from dicomsvc.config.listeners import DimseSettings, Hl7Settings, HttpSettings
from dicomsvc.config.pacs import AuditSettings, CommitmentSettings, WorklistSettings
from dicomsvc.config.peers import PeerSettings, is_peer_name
from dicomsvc.config.routing import RoutingSettings
from dicomsvc.config.service import (
    AuthSettings,
    DatabaseSettings,
    IngestSettings,
    JobSettings,
    StoreSettings,
    TritonSettings,
)
from dicomsvc.errors import ConfigurationError


class Settings(BaseSettings):
    """All settings of a service."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="DICOMSVC_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    data: Path = Path("data")
    """Folder of the store, the spool and the embedded database."""
    log_level: str = "INFO"
    """Lowest level that is logged."""
    log_json: bool = False
    """Log one JSON object a line."""
    database: DatabaseSettings = DatabaseSettings()
    """PostgreSQL."""
    store: StoreSettings = StoreSettings()
    """Files."""
    http: HttpSettings = HttpSettings()
    """DICOMweb, API, pages."""
    dimse: DimseSettings = DimseSettings()
    """DICOM upper layer."""
    commitment: CommitmentSettings = CommitmentSettings()
    """Storage commitment."""
    jobs: JobSettings = JobSettings()
    """Work items."""
    ingest: IngestSettings = IngestSettings()
    """Watch folders and uploads."""
    peers: Mapping[str, PeerSettings] = Field(default_factory=dict)
    """Application Entities that this node knows, by name; more can be added with ``dicomsvc peers add``."""
    triton: TritonSettings = TritonSettings()
    """The model server."""
    hl7: Hl7Settings = Hl7Settings()
    """Messages from laboratory systems: reports, orders."""
    worklist: WorklistSettings = WorklistSettings()
    """The modality worklist."""
    deidentify: DeidentifySettings = DeidentifySettings()
    """De-identification of what goes out (PS3.15 E)."""
    routing: RoutingSettings = RoutingSettings()
    """Rules on what arrived; forwarding."""
    audit: AuditSettings = AuditSettings()
    """The audit trail."""
    auth: AuthSettings = AuthSettings()
    """Who may use the service."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file()))

    @model_validator(mode="after")
    def _peers_fit_together(self) -> Self:
        names: dict[str, str] = {}
        for name, peer in self.peers.items():
            if not is_peer_name(name):
                raise ValueError(f"peers.{name}: a name has up to 64 letters, digits, '_', '.' or '-'")
            other = names.setdefault(peer.ae_title, name)
            if other != name:
                raise ValueError(f"peers.{name} has the AE title {peer.ae_title}, which peers.{other} has")
            if not self.has_deidentification_profile(peer.deidentify):
                raise ValueError(f"peers.{name}.deidentify: there is no [deidentify.profiles.{peer.deidentify}]")
        return self

    def has_deidentification_profile(self, name: str | None) -> bool:
        """Whether there is a profile of this name; None, which is none, counts as one."""
        return name is None or name == "basic" or name in self.deidentify.profiles

    @model_validator(mode="after")
    def _not_in_the_open(self) -> Self:
        split_address(self.http.bind)
        split_address(self.dimse.bind)
        if not is_loopback(self.http.bind) and not self.auth.tokens:
            raise ValueError(
                f"http.bind is {self.http.bind}, which others can reach, but no authentication is configured. "
                "Bind to 127.0.0.1, or run `dicomsvc token NAME` and put its line under [auth.tokens] in dicomsvc.toml"
            )
        if self.hl7.bind is not None and not is_loopback(self.hl7.bind) and not self.hl7.peers:
            raise ValueError(
                f"hl7.bind is {self.hl7.bind}, which others can reach, but anybody may send reports and orders. "
                "Bind to 127.0.0.1, or list the senders' addresses under hl7.peers"
            )
        return self


def config_file() -> Path:
    """Return the path of the settings file (which need not exist)."""
    return Path(os.environ.get("DICOMSVC_CONFIG", "dicomsvc.toml"))


def load_settings(arguments: Mapping[str, Any] | None = None) -> Settings:
    """Build the settings; ``arguments`` (nested mappings) go before everything else.

    Raises
    ------
    ConfigurationError
        When a value is wrong; the message names the field and says what is expected.
    """
    try:
        return Settings(**(arguments or {}))
    except ValidationError as error:
        lines = (
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError("; ".join(lines)) from None
    except ValueError as error:
        raise ConfigurationError(f"{config_file()}: {error}") from None

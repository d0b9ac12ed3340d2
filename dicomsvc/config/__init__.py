"""The settings: one frozen tree, built once and passed down.

A value comes from, in this order: an argument of the command line, an environment variable
(``DICOMSVC_HTTP__BIND=0.0.0.0:8080``, two underscores between section and field), ``dicomsvc.toml`` (in the working
folder, or the file named by ``DICOMSVC_CONFIG``), the default written here. All defaults together run a service on
loopback with no file at all.
"""

from dicomsvc.config.addresses import is_loopback, split_address
from dicomsvc.config.deidentify import DeidentifyProfileSettings, DeidentifySettings
from dicomsvc.config.listeners import DimseSettings, DimseTlsSettings, Hl7Settings, HttpSettings, TlsSettings
from dicomsvc.config.pacs import AuditSettings, CommitmentSettings, WorklistSettings
from dicomsvc.config.peers import AE_TITLE, PEER_NAME, PeerSettings, Permission, is_peer_name
from dicomsvc.config.routing import RoutingRule, RoutingSettings, WebDestination, Webhook
from dicomsvc.config.section import Section
from dicomsvc.config.service import (
    AuthSettings,
    DatabaseSettings,
    IngestSettings,
    JobSettings,
    StoreSettings,
    TritonSettings,
)
from dicomsvc.config.settings import Settings, config_file, load_settings

__all__ = [
    "AE_TITLE",
    "PEER_NAME",
    "AuditSettings",
    "AuthSettings",
    "CommitmentSettings",
    "DatabaseSettings",
    "DeidentifyProfileSettings",
    "DeidentifySettings",
    "DimseSettings",
    "DimseTlsSettings",
    "Hl7Settings",
    "HttpSettings",
    "IngestSettings",
    "JobSettings",
    "PeerSettings",
    "Permission",
    "RoutingRule",
    "RoutingSettings",
    "Section",
    "Settings",
    "StoreSettings",
    "TlsSettings",
    "TritonSettings",
    "WebDestination",
    "Webhook",
    "WorklistSettings",
    "config_file",
    "is_loopback",
    "is_peer_name",
    "load_settings",
    "split_address",
]

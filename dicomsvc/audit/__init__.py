"""The audit trail: who did what to whose objects, and when (PS3.15 A.5).

In come events, noted by `record` or by the store in the transaction of what it does; out go audit messages: a chained
table that can be verified, and syslog over TLS to a collector (PS3.15 A.6). It is the one place that holds patients'
numbers beside users' names; nothing of it is logged.
"""

from dicomsvc.audit.events import (
    ApplicationActivity,
    AuditLogUsed,
    BeginTransferring,
    Event,
    Export,
    Import,
    InstancesAccessed,
    InstancesTransferred,
    OrderRecord,
    PatientRecord,
    Query,
    SecurityAlert,
    StudyDeleted,
    UserAuthentication,
)
from dicomsvc.audit.journal import record, recording, serving
from dicomsvc.audit.message import Action, Outcome
from dicomsvc.audit.parties import Party, Share, application_entity

__all__ = [
    "Action",
    "ApplicationActivity",
    "AuditLogUsed",
    "BeginTransferring",
    "Event",
    "Export",
    "Import",
    "InstancesAccessed",
    "InstancesTransferred",
    "OrderRecord",
    "Outcome",
    "Party",
    "PatientRecord",
    "Query",
    "SecurityAlert",
    "Share",
    "StudyDeleted",
    "UserAuthentication",
    "application_entity",
    "record",
    "recording",
    "serving",
]

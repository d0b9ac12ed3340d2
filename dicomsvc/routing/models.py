"""What the API says of routing."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from dicomsvc.routing.forwards import Forward, ForwardInstance

Uid = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]


class RuleEntry(BaseModel):
    """A rule of the settings, what waits for it, and the forwards that it has made by how they stand."""

    name: str
    enabled: bool
    rule: dict[str, Any]
    instances_waiting: int
    forwards: dict[str, int]


class TryRequest(BaseModel):
    """A study, or one of its series, that is stored."""

    model_config = ConfigDict(extra="forbid")

    study_instance_uid: Uid
    series_instance_uid: Uid | None = None


class OrderEntry(BaseModel):
    """What would be done: ``action`` is store, stow, analyze, notify or webhook."""

    action: str
    destination: str
    instances: int
    series_instance_uid: str | None


class TryEntry(BaseModel):
    """A rule that is for some of the instances, and what it would do with them."""

    rule: str
    instances: int
    orders: list[OrderEntry]


class ForwardEntry(BaseModel):
    """What goes to one destination; counts are of instances, sizes in bytes."""

    id: int
    rule: str
    action: str
    destination: str
    study_instance_uid: str
    series_instance_uid: str | None
    commitment: bool
    state: str
    tries: int
    due: datetime | None
    reason: str
    work_item: str | None
    transaction_uid: str | None
    created: datetime
    started: datetime | None
    ended: datetime | None
    instances: int
    waiting: int
    sent: int
    confirmed: int
    failed: int
    skipped: int
    answers: int
    bytes: int
    bytes_sent: int

    @classmethod
    def of(cls, record: Forward) -> "ForwardEntry":
        return cls(**record.as_dict())


class ForwardInstanceEntry(BaseModel):
    """One instance of a forward; ``status`` is the destination's answer."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    size: int
    state: str
    status: int | None
    note: str
    answers: int
    sent_as: str | None
    at: datetime | None

    @classmethod
    def of(cls, instance: ForwardInstance) -> "ForwardInstanceEntry":
        return cls(**{name: getattr(instance, name) for name in cls.model_fields})

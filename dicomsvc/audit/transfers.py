"""Instances that go to a peer one by one, told per study: that they begin to go, which went, and which did not."""

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Engine

from dicomsvc.audit.events import BeginTransferring, InstancesTransferred
from dicomsvc.audit.journal import record
from dicomsvc.audit.message import Outcome
from dicomsvc.audit.parties import Party, Share
from dicomsvc.audit.web import Named

_Record = TypeVar("_Record", bound=Named)


class Transfer:
    """A transfer to ``peer``, from its first instance to the end of the ``with`` block.

    Parameters
    ----------
    requestor
        A third party that asked for it (C-MOVE).
    pulled
        The peer asked for it itself (C-GET).
    anonymized
        It gets de-identified copies.
    """

    def __init__(
        self,
        engine: Engine,
        peer: Party,
        *,
        requestor: Party | None = None,
        pulled: bool = False,
        anonymized: bool | None = None,
    ) -> None:
        self._engine = engine
        self._peer = peer
        self._requestor = requestor
        self._pulled = pulled
        self._anonymized = anonymized
        self._begun: set[str] = set()
        self._went: dict[str, Share] = {}
        self._failed: dict[str, Share] = {}

    def each(self, store_one: Callable[[_Record], int | None]) -> Callable[[_Record], int | None]:
        """Return ``store_one``, which sends an instance and returns its status, with what it does counted."""

        def counted(instance: _Record) -> int | None:
            self._begin(instance.study_instance_uid)
            status = None
            try:
                status = store_one(instance)
                return status
            finally:
                went = status is not None and (status == 0 or status >> 12 == 0xB)
                self.count(instance.study_instance_uid, instance.sop_class_uid, instance.sop_instance_uid, went=went)

        return counted

    def count(self, study_instance_uid: str, sop_class_uid: str, sop_instance_uid: str, *, went: bool) -> None:
        """Count an instance that went to the peer, or did not."""
        self._begin(study_instance_uid)
        counted = self._went if went else self._failed
        share = Share(study_instance_uid, None, {sop_class_uid: 1}, {sop_class_uid: (sop_instance_uid,)})
        known = counted.get(study_instance_uid)
        counted[study_instance_uid] = share if known is None else known.joined(share)

    def _begin(self, study_instance_uid: str) -> None:
        if study_instance_uid not in self._begun:
            self._begun.add(study_instance_uid)
            shares = (Share(study_instance_uid),)
            record(self._engine, BeginTransferring(peer=self._peer, requestor=self._requestor, shares=shares))

    def _events(self) -> Iterator[InstancesTransferred]:
        told: tuple[tuple[Mapping[str, Share], Outcome, str], ...] = (
            (self._went, Outcome.SUCCESS, ""),
            (self._failed, Outcome.MINOR_FAILURE, "the peer does not have them"),
        )
        for counted, outcome, description in told:
            for share in counted.values():
                yield InstancesTransferred(
                    peer=self._peer,
                    inbound=False,
                    pulled=self._pulled,
                    requestor=self._requestor,
                    anonymized=self._anonymized,
                    shares=(share,),
                    outcome=outcome,
                    description=description,
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record(self._engine, *self._events())

"""``/api/routing`` and ``/api/forwards``: what rules do and would do; forwards listed, sent again, dropped."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from dicomsvc.routing.forwards import Forwards, ForwardState
from dicomsvc.routing.models import ForwardEntry, ForwardInstanceEntry, RuleEntry, TryEntry, TryRequest
from dicomsvc.routing.trying import list_rules, try_rules
from dicomsvc.store import Store

Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the forward")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]


def routing_routes(store: Store) -> APIRouter:
    """Return the routes of routing."""
    router = APIRouter(prefix="/api", tags=["routing"])
    forwards = Forwards(store.engine)

    @router.get("/routing/rules", summary="The rules, with what they have done")
    def rules() -> list[RuleEntry]:
        return [RuleEntry(**each.as_dict()) for each in list_rules(store)]

    @router.post("/routing/try", summary="What the rules would do with a stored study or series; does nothing")
    def attempt(asked: TryRequest) -> list[TryEntry]:
        found = try_rules(store, asked.study_instance_uid, asked.series_instance_uid)
        return [TryEntry(**each.as_dict()) for each in found]

    @router.get("/forwards", summary="Forwards, latest first; those that are `dead` wait for somebody to look at them")
    def list_forwards(
        state: ForwardState | None = None,
        rule: Annotated[str | None, Query(max_length=64)] = None,
        destination: Annotated[str | None, Query(max_length=64)] = None,
        study_instance_uid: Annotated[str | None, Query(max_length=64)] = None,
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> list[ForwardEntry]:
        found = forwards.search(
            state=state,
            rule=rule,
            destination=destination,
            study_instance_uid=study_instance_uid,
            limit=limit,
            offset=offset,
        )
        return [ForwardEntry.of(each) for each in found]

    @router.get("/forwards/{number}", summary="One forward")
    def get_forward(number: Number) -> ForwardEntry:
        return ForwardEntry.of(forwards.get(number))

    @router.get("/forwards/{number}/instances", summary="The instances of a forward, each with its answer")
    def instances(
        number: Number,
        state: Annotated[str | None, Query(pattern="^(waiting|sent|confirmed|failed|skipped)$")] = None,
        limit: Limit = 1000,
        offset: Offset = 0,
    ) -> list[ForwardInstanceEntry]:
        forwards.get(number)
        found = forwards.instances(number, state=state, limit=limit, offset=offset)
        return [ForwardInstanceEntry.of(each) for each in found]

    @router.post("/forwards/{number}/retry", summary="Send again what could not be sent; what pauses, at once")
    def retry(number: Number) -> ForwardEntry:
        return ForwardEntry.of(forwards.retry(number))

    @router.post("/forwards/{number}/drop", summary="Give a forward up")
    def drop(number: Number) -> ForwardEntry:
        return ForwardEntry.of(forwards.drop(number))

    return router

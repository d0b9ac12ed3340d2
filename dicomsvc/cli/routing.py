"""``dicomsvc forwards`` and ``dicomsvc routing``: forwards looked at, sent again, dropped; what rules do."""

from dataclasses import asdict
from typing import Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.routing.forwards import Forward, Forwards
from dicomsvc.routing.trying import list_rules, try_rules
from dicomsvc.store import Store

forwards = typer.Typer(help="What goes to other systems by the rules of routing.", no_args_is_help=True)
routing = typer.Typer(help="Rules on what has arrived.", no_args_is_help=True)
NumberArgument = Annotated[int, typer.Argument(min=1, help="Number of the forward")]
NumbersArgument = Annotated[list[int], typer.Argument(min=1, help="Numbers of forwards")]


@forwards.command("list")
def list_forwards(
    state: Annotated[str | None, typer.Option(help="waiting, pausing, confirming, done, dead, …")] = None,
    destination: Annotated[str | None, typer.Option(help="Where they go")] = None,
    rule: Annotated[str | None, typer.Option(help="The rule that made them")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List forwards, newest first."""
    with open_store(data) as store:
        found = Forwards(store.engine).search(state=state, destination=destination, rule=rule, limit=limit)
    text = "\n".join(record.describe() for record in found) or "no forwards"
    emit([record.as_dict() for record in found], text, as_json=as_json)


@forwards.command()
def show(number: NumberArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show one forward with its instances."""
    with open_store(data) as store:
        record = Forwards(store.engine).get(number)
        instances = Forwards(store.engine).instances(number)
    lines = [record.describe()]
    for each in instances:
        status = "" if each.status is None else f" {each.status:#06x}"
        lines.append(f"  {each.sop_instance_uid}  {each.state}{status}  {each.note}".rstrip())
    document = record.as_dict() | {"list": [asdict(each) for each in instances]}
    emit(document, "\n".join(lines), as_json=as_json)


@forwards.command()
def retry(numbers: NumbersArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Send again what could not be sent; what pauses is tried at once."""
    with open_store(data) as store:
        _emit([Forwards(store.engine).retry(number) for number in numbers], as_json)


@forwards.command()
def drop(numbers: NumbersArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Give forwards up."""
    with open_store(data) as store:
        _emit([Forwards(store.engine).drop(number) for number in numbers], as_json)


def _emit(found: list[Forward], as_json: bool) -> None:
    text = "\n".join(record.describe() for record in found)
    emit([record.as_dict() for record in found], text, as_json=as_json)


@routing.command()
def rules(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """List the rules with what they have done."""
    with open_store(data) as store:
        found = list_rules(store)
    lines = []
    for each in found:
        made = ", ".join(f"{count} {state}" for state, count in sorted(each.forwards.items())) or "none"
        word = "" if each.rule.enabled else "  (disabled)"
        lines.append(f"{each.rule.name}{word}  {each.waiting} instances waiting; forwards: {made}")
    emit([each.as_dict() for each in found], "\n".join(lines) or "no rules", as_json=as_json)


@routing.command("try")
def attempt(
    uid: Annotated[str, typer.Argument(metavar="STUDY|SERIES", help="UID of something that is stored")],
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which rules are for a stored study or series, and what they would do; do nothing."""
    with open_store(data) as store:
        found = try_rules(store, *_study_and_series(store, uid))
    lines = []
    for each in found:
        lines.append(f"{each.rule.name}  {each.instances} instances")
        lines += [f"  {order.action} {order.destination}  {len(order.arrivals)} instances" for order in each.orders]
    emit([each.as_dict() for each in found], "\n".join(lines) or "no rule is for it", as_json=as_json)


def _study_and_series(store: Store, uid: str) -> tuple[str, str | None]:
    study = store.instances.find_series(uid)
    return (uid, None) if study is None else (study, uid)

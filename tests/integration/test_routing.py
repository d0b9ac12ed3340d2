"""Rules: what they are for, when they are applied, that nothing is missed, done twice or sent back."""

import threading

import pytest

from dicomsvc.config import Settings
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.errors import ConfigurationError
from dicomsvc.jobs import Jobs
from dicomsvc.routing.admission import admit, order_analyses, reconcile
from dicomsvc.routing.firing import fire, forget_waits
from dicomsvc.routing.forwards import Forwards, ForwardState
from dicomsvc.routing.intake import read_position, take_in
from dicomsvc.routing.router import Router
from dicomsvc.routing.rules import read_rules
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.routed import opened, put, route, series_of, with_routing

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def result_dataset(**uids: str) -> object:
    ds = wsi_dataset(**uids)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SEGMENTATION
    ds.Modality = "SEG"
    return ds


def rule(**changes: object) -> dict[str, object]:
    return {"name": "r", "send": ["X"], "stable_seconds": 0, **changes}


def fired(settings: Settings, *rules: dict[str, object]) -> dict[str, set[str]]:
    """Return which rules are for which of a slide and a result found in it, by source."""
    with opened(with_routing(settings, rules=rules)) as store:
        slide, other = series_of(1)[0], series_of(1)[0]
        slide.StudyDescription, slide.BodyPartExamined = "Kidney biopsy", "KIDNEY"
        put(store, slide, who="SCANNER")
        put(store, other, source="stow", who="web")
        found = result_dataset(study_instance_uid=str(slide.StudyInstanceUID))
        put(store, found, source="analysis", who="model")  # type: ignore[arg-type]
        names = {
            str(slide.SOPInstanceUID): "slide",
            str(other.SOPInstanceUID): "other",
            str(found.SOPInstanceUID): "result",
        }  # type: ignore[attr-defined]
        by_rule: dict[str, set[str]] = {str(each["name"]): set() for each in rules}
        for record in route(store):
            for instance in Forwards(store.engine).instances(record.id):
                by_rule[record.rule].add(names[instance.sop_instance_uid])
        return by_rule


def test_each_condition_chooses_what_it_says(settings: Settings) -> None:
    assert fired(
        settings,
        rule(name="all"),
        rule(name="image", kind="image"),
        rule(name="result", kind="result"),
        rule(name="class", sop_classes=["SegmentationStorage"]),
        rule(name="uid", sop_classes=["1.2.840.10008.5.1.4.1.1.77.1.6"]),
        rule(name="modality", modalities=["SEG", "OT"]),
        rule(name="source", sources=["stow"]),
        rule(name="caller", calling_ae_titles=["SCANNER"]),
        rule(name="description", study_description="*biopsy"),
        rule(name="match", match={"BodyPartExamined": "KID*"}),
        rule(name="path", match={"ContainerIdentifier": "C-?"}, kind="image"),
        rule(name="foreign", own_results=False),
        rule(name="disabled", enabled=False),
    ) == {
        "all": {"slide", "other", "result"},
        "image": {"slide", "other"},
        "result": {"result"},
        "class": {"result"},
        "uid": {"slide", "other"},
        "modality": {"result"},
        "source": {"other"},
        "caller": {"slide"},
        "description": {"slide", "result"},
        "match": {"slide"},
        "path": {"slide", "other"},
        "foreign": {"slide", "other"},
        "disabled": set(),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"sop_classes": ["Slide"]},
        {"match": {"NoSuchThing": "1"}},
        {"match": {"SOPInstanceUID": "x"}},
        {"sources": ["x"]},
    ],
)
def test_a_rule_that_means_nothing_is_refused_at_the_start(settings: Settings, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="rule r: "):
        read_rules(with_routing(settings, rules=[rule(**changes)]))


def test_a_series_is_taken_when_nothing_has_been_added_for_long_enough_and_only_once(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule(stable_seconds=3600)])) as store:
        first, second, late = series_of(3)
        put(store, first, second)
        assert route(store) == []
        age(store, 3601)
        [record] = route(store)
        assert (record.instances, record.series_instance_uid) == (2, str(first.SeriesInstanceUID))
        assert len(route(store)) == 1
        put(store, late)
        assert len(route(store)) == 1
        age(store, 3601)
        _, more = route(store)
        assert [each.sop_instance_uid for each in Forwards(store.engine).instances(more.id)] == [
            str(late.SOPInstanceUID)
        ]


def test_what_this_node_made_itself_does_not_keep_a_study_waiting_unless_it_is_asked_for(settings: Settings) -> None:
    asked = {"stable": "study", "stable_seconds": 3600}
    rules = [rule(name="with", **asked), rule(name="without", own_results=False, **asked)]
    with opened(with_routing(settings, rules=rules)) as store:
        [slide] = series_of(1)
        put(store, slide)
        route(store)
        age(store, 3601)
        put(store, result_dataset(study_instance_uid=str(slide.StudyInstanceUID)), source="analysis")  # type: ignore[arg-type]
        [record] = route(store)
        assert (record.rule, record.instances, record.series_instance_uid) == ("without", 1, None)
        age(store, 3601)
        assert [(each.rule, each.instances) for each in route(store)] == [("without", 1), ("with", 2)]


def test_nothing_goes_back_to_where_it_came_from(settings: Settings) -> None:
    routing = {
        "rules": [rule(send=["SCANNER", "OTHER", "cloud"]), rule(name="back", send=["SCANNER"], back=True)],
        "destinations": {"cloud": {"url": "http://127.0.0.1:1/dicomweb", "user": "cloud"}},
    }
    with opened(with_routing(settings, peers={"SCANNER": 1, "OTHER": 2}, **routing)) as store:
        scanned, [stowed] = series_of(1), series_of(1)
        put(store, *scanned, who="SCANNER")
        put(store, stowed, source="stow", who="cloud")
        by_series = {str(scanned[0].SeriesInstanceUID): "scanned", str(stowed.SeriesInstanceUID): "stowed"}
        made = {
            (by_series[each.series_instance_uid or ""], each.rule, each.destination, each.action)
            for each in route(store)
        }
        assert made == {
            ("scanned", "r", "OTHER", "store"),
            ("scanned", "r", "cloud", "stow"),
            ("scanned", "back", "SCANNER", "store"),
            ("stowed", "r", "SCANNER", "store"),
            ("stowed", "r", "OTHER", "store"),
            ("stowed", "back", "SCANNER", "store"),
        }


def test_what_comes_back_is_no_arrival(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule()])) as store:
        [slide] = series_of(1)
        put(store, slide, source="analysis")
        assert len(route(store)) == 1
        put(store, slide, who="ARCHIVE")
        assert len(route(store)) == 1


def test_a_store_that_was_there_before_its_first_router_is_not_sent_out(settings: Settings) -> None:
    with Store(with_routing(settings, rules=[rule()])) as store:
        put(store, *series_of(2))
        read_position(store.engine)
        assert route(store) == []
        put(store, *series_of(1))
        assert len(route(store)) == 1


def test_what_came_while_no_router_ran_is_routed_and_readers_at_once_take_each_thing_once(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule()])) as store:
        put(store, *(series_of(1)[0] for _ in range(40)))
        rules = read_rules(store.settings)

        def work() -> None:
            peers = KnownPeers(store.engine, store.settings)
            while take_in(store.engine, rules):
                pass
            fire(store.engine, rules[0], store.settings.routing, peers)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = route(store)
        assert len(records) == 40
        assert {each.instances for each in records} == {1}
        assert len({each.series_instance_uid for each in records}) == 40


def test_a_rule_that_is_gone_waits_for_nothing(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule(stable_seconds=3600)])) as store:
        put(store, *series_of(2))
        route(store)
        forget_waits(store.engine, [])
        age(store, 3601)
        assert route(store) == []


def test_a_destination_gets_no_more_at_a_time_than_it_is_to_have_and_the_oldest_first(settings: Settings) -> None:
    routing = {"rules": [rule(send=["A", "B"])], "per_destination": 2}
    with opened(with_routing(settings, **routing)) as store:
        put(store, *(series_of(1)[0] for _ in range(5)))
        records = route(store)
        assert admit(store.engine, store.settings.routing) == 4
        assert admit(store.engine, store.settings.routing) == 0
        ordered = Forwards(store.engine).search(state="ordered")
        for destination in ("A", "B"):
            of_destination = [each.id for each in records if each.destination == destination]
            assert sorted(each.id for each in ordered if each.destination == destination) == of_destination[:2]
        assert all(each.work_item for each in ordered)


def test_a_forward_whose_work_item_was_given_up_is_tried_again_and_one_that_was_cancelled_is_dropped(
    settings: Settings,
) -> None:
    with opened(with_routing(settings, rules=[rule(send=["A", "B"])])) as store:
        put(store, *series_of(1))
        first, second = route(store)
        admit(store.engine, store.settings.routing)
        first, second = (Forwards(store.engine).get(each.id) for each in (first, second))
        with store.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE work_item SET state = 'CANCELED', error = 'the process ended unexpectedly' WHERE uid = %(uid)s",
                {"uid": first.work_item},
            )
        Jobs(store.engine).request_cancel(second.work_item or "")
        assert reconcile(store.engine, store.settings.routing) == 2
        assert Forwards(store.engine).get(second.id).state is ForwardState.DROPPED
        again = Forwards(store.engine).get(first.id)
        assert (again.state, again.tries, again.reason) == (ForwardState.WAITING, 1, "the process ended unexpectedly")
        assert again.due is not None
        assert admit(store.engine, store.settings.routing) == 0


def test_an_analysis_is_ordered_once_for_a_series_and_never_for_a_result(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule(send=[], analyze=["nuclei"], kind="image")])) as store:
        slide, late = series_of(2)
        made_by_model = series_of(1)
        put(store, slide, *made_by_model)
        put(store, result_dataset(study_instance_uid=str(slide.StudyInstanceUID)), source="analysis")  # type: ignore[arg-type]
        asked: list[tuple[str, str, str]] = []

        def order(study: str, series: str, model: str, key: str) -> str | None:
            asked.append((series, model, key))
            return None if series == str(made_by_model[0].SeriesInstanceUID) else "1.2.3"

        route(store)
        order_analyses(store.engine, order)
        put(store, late)
        route(store)
        order_analyses(store.engine, order)
        series = str(slide.SeriesInstanceUID)
        assert [each for each in asked if each[0] == series] == [(series, "nuclei", f"route:r:nuclei:{series}")] * 2
        by_series = {each.series_instance_uid: each for each in route(store)}
        assert by_series[series].state is ForwardState.DONE
        assert by_series[str(made_by_model[0].SeriesInstanceUID)].reason == "it is no slide, or was made by a model"


def test_of_two_routers_one_works_and_the_other_takes_over(settings: Settings) -> None:
    with opened(with_routing(settings, rules=[rule()])) as store:
        first, second = (Router(store, lambda *_: None, every_seconds=0.05) for _ in range(2))
        first.start()
        second.start()
        put(store, *series_of(1))
        wait_for(store, 1)
        first.stop()
        put(store, *series_of(1))
        wait_for(store, 2)
        second.stop()
        assert all(each.instances == 1 for each in Forwards(store.engine).search())


def wait_for(store: Store, count: int) -> None:
    import time

    deadline = time.monotonic() + 30
    while len(Forwards(store.engine).search()) < count:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def age(store: Store, seconds: int) -> None:
    """Let all that has been added have been added so much earlier."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE routing_activity SET at = at - interval '{seconds} s',"
            f" at_from_elsewhere = at_from_elsewhere - interval '{seconds} s'"
        )

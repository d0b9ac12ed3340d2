"""Routing as a worker's process runs it: the router, and a lane of its own for forwards.

Forwards wait for others most of the time; in a lane of their own they keep no analysis waiting, and none keeps them.
"""

import threading
from collections import Counter
from collections.abc import Mapping

from dicomsvc.ai.analysis.submission import Wish, slide_series, submit
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.errors import NotFound
from dicomsvc.jobs import Worker
from dicomsvc.routing.admission import AnalysisOrder
from dicomsvc.routing.handlers import HANDLERS
from dicomsvc.routing.router import Router
from dicomsvc.store import Store

_REQUESTER = "routing"


def analysis_order(store: Store) -> AnalysisOrder:
    """Return how rules have slides analysed; what a model made is not."""
    catalogue = Catalogue(store.settings)

    def order(study_instance_uid: str, series_instance_uid: str, model: str, key: str) -> str | None:
        try:
            slides = slide_series(store, study_instance_uid)
        except NotFound:
            return None
        if series_instance_uid not in slides:
            return None
        wish = Wish(model)
        return submit(store, catalogue, study_instance_uid, series_instance_uid, wish, _REQUESTER, key=key).uid

    return order


class Routing:
    """The router and the lane, in threads of their own from `start` to `stop`."""

    def __init__(self, store: Store) -> None:
        settings = store.settings
        of_lane = settings.jobs.model_copy(update={"concurrency": settings.routing.concurrency})
        self._lane = Worker(settings.model_copy(update={"jobs": of_lane}), store.engine, HANDLERS, warm=False)
        self._router = Router(store, analysis_order(store))
        self._thread = threading.Thread(target=self._lane.run, name="forwards", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._router.start()

    def stop(self) -> None:
        """Give the forwards under way a short while, then hand them back."""
        self._router.stop()
        self._lane.stop()
        self._thread.join()

    def counters(self, of_worker: Mapping[str, float]) -> Mapping[str, float]:
        """Return what worker and lane counted together."""
        return Counter(of_worker) + Counter(self._lane.counters())

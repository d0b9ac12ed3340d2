"""What this room gives to the web application: its routes, and which work items of others it does."""

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter

from dicomsvc.ai.agreement_routes import agreement_routes
from dicomsvc.ai.analysis.submission import performable
from dicomsvc.ai.analysis_routes import analysis_routes
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.clicks.routes import click_routes
from dicomsvc.ai.deepliif.routes import FormFiles, deepliif_routes
from dicomsvc.ai.ihc.engine import Engine
from dicomsvc.ai.ihc.regions.routes import region_routes
from dicomsvc.ai.ihc.slides import slide_routes
from dicomsvc.ai.model_routes import model_routes
from dicomsvc.jobs import Jobs
from dicomsvc.store import Store

__all__ = ["agreement_routes", "analysis_routes", "click_routes", "ihc_routes", "model_routes", "performable_work"]


def ihc_routes(store: Store, jobs: Jobs, form_files: FormFiles) -> list[APIRouter]:
    """Return the routes that score immunohistochemistry; ``form_files`` receives a form's files."""
    engine = Engine(store.settings)
    return [
        deepliif_routes(engine, form_files, store.layout.root / "ihc"),
        region_routes(store, engine, form_files),
        slide_routes(store, jobs, Catalogue(store.settings)),
    ]


def performable_work(store: Store) -> Callable[[str, str], tuple[str, dict[str, str]] | None]:
    """Return what tells kind and inputs of the work that a Scheduled Workitem Code (value, scheme) asks for."""
    return partial(performable, Catalogue(store.settings))

"""The ASGI application, put together from the rooms' routes."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from dicomsvc import __version__
from dicomsvc.ai.routes import (
    agreement_routes,
    analysis_routes,
    click_routes,
    ihc_routes,
    model_routes,
    performable_work,
)
from dicomsvc.audit.web import WebTrail
from dicomsvc.auth import Authenticator
from dicomsvc.dicomweb import FrameApp, retrieve_routes, search_routes, store_routes, workitem_routes
from dicomsvc.errors import DicomsvcError
from dicomsvc.ingest.routes import job_routes, upload_routes
from dicomsvc.jobs import Jobs
from dicomsvc.pacs.commitment.routes import commitment_routes
from dicomsvc.pacs.peer_routes import peer_routes
from dicomsvc.pacs.worklist.routes import worklist_routes
from dicomsvc.reports.routes import report_routes
from dicomsvc.routing.routes import routing_routes
from dicomsvc.store import Store
from dicomsvc.web.answers import tell_error, tell_http, tell_invalid
from dicomsvc.web.api import api_router
from dicomsvc.web.bodies import SmallBodies
from dicomsvc.web.cors import Cors
from dicomsvc.web.forms import form_files
from dicomsvc.web.gate import AsgiApp, Gate, Traffic
from dicomsvc.web.health import health_routes
from dicomsvc.web.pages import add_pages


def build_app(store: Store, traffic: Traffic | None = None) -> AsgiApp:
    """Return the application that serves ``store``; ``traffic`` is counted into when given."""
    settings = store.settings
    traffic = traffic or Traffic()
    app = FastAPI(
        title="dicomsvc",
        version=__version__,
        description="DICOM whole slide imaging service. DICOMweb (PS3.18) is under `/dicomweb`; what is here is ours.",
        docs_url=None,
        redoc_url=None,
    )
    app.router.routes.extend(health_routes(store, traffic))
    app.router.routes.extend(store_routes(store, settings))
    app.router.routes.extend(search_routes(store, settings))
    app.router.routes.extend(retrieve_routes(store, settings))
    jobs = Jobs(store.engine)
    app.router.routes.extend(workitem_routes(store, jobs, settings, performable_work(store)))
    app.include_router(api_router(store))
    app.include_router(job_routes(store, jobs))
    app.include_router(upload_routes(store, jobs))
    app.include_router(analysis_routes(store, jobs))
    app.include_router(model_routes(store))
    app.include_router(agreement_routes(store))
    app.include_router(click_routes(store, form_files))
    app.include_router(report_routes(store, jobs))
    app.include_router(peer_routes(store))
    app.include_router(worklist_routes(store))
    app.include_router(commitment_routes(store))
    app.include_router(routing_routes(store))
    for router in ihc_routes(store, jobs, form_files):
        app.include_router(router)

    add_pages(app)

    app.add_exception_handler(DicomsvcError, tell_error)
    app.add_exception_handler(RequestValidationError, tell_invalid)
    app.add_exception_handler(HTTPException, tell_http)

    authenticator, cors = Authenticator(settings.auth), Cors(settings.http.cors_origins)
    trail = WebTrail(store.engine, settings.http.trusted_proxies)
    return Gate(SmallBodies(app), FrameApp(store, settings), authenticator, cors, traffic, trail)

"""``/api/models``: the catalogue for pages and scripts."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request
from pydantic import BaseModel

from dicomsvc.ai.catalogue.card import model_document
from dicomsvc.ai.catalogue.hot import apply_change
from dicomsvc.ai.catalogue.repository import Catalogue, Model
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of the model")]
Number = Annotated[int | None, Body(embed=True, ge=1, lt=1_000_000_000, description="Version to take from now on")]


class ModelEntry(BaseModel):
    """A model. ``default_number``: the version taken when none is named; ``problem``: why it cannot be used."""

    name: str
    enabled: bool
    added: bool
    default_number: int | None
    problem: str | None
    versions: list[dict[str, Any]]


class ModelChange(ModelEntry):
    """The model after a change. ``effect``: what became of it on the model server."""

    effect: str


def model_routes(store: Store) -> APIRouter:
    """Return the routes for the catalogue of ``store``'s service."""
    router = APIRouter(prefix="/api/models", tags=["models"])
    catalogue = Catalogue(store.settings)

    def changed(model: Model, action: str, request: Request) -> ModelChange:
        _record(store, request.scope.get("user"), action, model)
        return ModelChange(**model_document(model), effect=apply_change(store.settings, catalogue, model.name))

    @router.get("", summary="All models with their versions")
    def list_models() -> list[ModelEntry]:
        return [ModelEntry(**model_document(model)) for model in catalogue.models()]

    @router.get("/{name}", summary="One model: intended use, limits, classes, accuracy, by version")
    def show_model(name: Name) -> ModelEntry:
        return ModelEntry(**model_document(catalogue.get(name)))

    @router.post("/{name}/enable", summary="Let a model be called, and choose the version taken when none is named")
    def enable_model(name: Name, request: Request, number: Number = None) -> ModelChange:
        return changed(catalogue.set_enabled(name, True, number), "enable model", request)

    @router.post("/{name}/disable", summary="Let a model no longer be called")
    def disable_model(name: Name, request: Request) -> ModelChange:
        return changed(catalogue.set_enabled(name, False), "disable model", request)

    return router


def _record(store: Store, who: str | None, action: str, model: Model) -> None:
    detail = {"model": model.name, "preferred": model.preferred}
    with database_errors(), store.engine.begin() as connection:
        connection.execute(audit.insert().values(who=who or "", action=action, detail=detail))

"""Answers of the worklist service: statuses and Warning headers of the tables in PS3.18 11.4 to 11.12."""

from typing import Final

from starlette.responses import JSONResponse, Response

from dicomsvc.jobs.steps import Verdict
from dicomsvc.jobs.transitions import Status

CREATED_MODIFIED: Final = "The Workitem was created with modifications."
ALREADY_CANCELED: Final = "The UPS is already in the requested state of CANCELED."
ALREADY_COMPLETED: Final = "The UPS is already COMPLETED."
UNREACHABLE: Final = "The performer cannot be contacted."
_MISSING: Final = "The Transaction UID is missing."
_INCORRECT: Final = "The Transaction UID is incorrect."
_INCONSISTENT: Final = "The submitted request is inconsistent with the state of the UPS Instance."
_INCONSISTENT_UPDATE: Final = "The submitted request is inconsistent with the current state of the Workitem."
_NOT_CLAIMED: Final = "The target URI did not reference a claimed Workitem."


def warning(root: str, text: str) -> dict[str, str]:
    """Return a Warning header as PS3.18 11 writes it; the service is named by its root."""
    return {"Warning": f"299 {root}: {text}"}


def refusal(root: str, status: int, text: str, reason: str) -> Response:
    return JSONResponse({"error": f"{text} {reason}".strip()}, status, warning(root, text))


def state_answer(root: str, verdict: Verdict, transaction_uid: str) -> Response:
    """Return the answer to a request to change the state (PS3.18 11.7.3)."""
    match verdict.status:
        case Status.SUCCESS:
            return Response(status_code=200)
        case Status.ALREADY_CANCELED:
            return Response(status_code=200, headers=warning(root, ALREADY_CANCELED))
        case Status.ALREADY_COMPLETED:
            return Response(
                status_code=200, headers=warning(root, "The UPS is already in the requested state of COMPLETED.")
            )
        case Status.WRONG_TRANSACTION:
            return refusal(root, 400, _INCORRECT if transaction_uid else _MISSING, "")
        case Status.ONLY_BY_CREATION:
            return refusal(root, 400, _INCONSISTENT, "It becomes SCHEDULED only by being created.")
        case _:
            return refusal(root, 409, _INCONSISTENT, verdict.reason)


def update_answer(root: str, verdict: Verdict, transaction_uid: str) -> Response:
    """Return the answer to a request to update (PS3.18 11.6.3)."""
    match verdict.status:
        case Status.SUCCESS:
            return Response(status_code=200)
        case Status.WRONG_TRANSACTION:
            return refusal(root, 400, _INCONSISTENT_UPDATE, _INCORRECT if transaction_uid else _MISSING)
        case Status.NO_LONGER:
            return refusal(root, 400, _INCONSISTENT_UPDATE, verdict.reason)
        case Status.NOT_IN_PROGRESS:
            return refusal(root, 409, _NOT_CLAIMED, verdict.reason)
        case _:
            return refusal(root, 409, _INCONSISTENT_UPDATE, verdict.reason)

"""The one error tree of dicomsvc.

Every class carries the status that the borders answer with, so that DIMSE, STOW-RS and HTTP map by attribute::

    DicomsvcError                     dimse   http
    ├── OutOfResources                0xA700  503   disk, memory or database exhausted; try again later
    ├── InvalidIdentifier             0xA900  400   a query or retrieval's identifier is none of its model
    ├── InvalidInstance               0xA900  409   required attribute missing, bad UID, wrong SOP class
    ├── NotParseable                  0xC000  409   not DICOM, or cut short
    ├── UnsupportedInstance           0x0122  415   SOP class or transfer syntax that is not kept here
    ├── OtherStudy                    0xC409  409   STOW-RS: the instance belongs to another study than the URL
    ├── DuplicateInstance             0x0111  409   same SOP Instance UID, other content
    ├── NotAllowed                    0x0124  403
    ├── NotAuthenticated              0x0124  401
    ├── NotFound                      0x0112  404
    ├── NotAcceptable                 0xC000  406   no media type that the client accepts can be made
    ├── UnsupportedMediaType          0xC000  415   the request's body has a type that is not understood
    ├── BadRequest                    0xC000  400   the request itself is wrong
    ├── TooLarge                      0xA700  413
    ├── Conflict                      0xC000  409   the thing is in a state that forbids this
    ├── PreconditionFailed            0xC000  412   the thing has changed since the client saw it
    ├── DamagedFile                   0xC000  500   a stored file no longer has the bytes it came with
    ├── Cancelled                     0xFE00  409   somebody asked for this to stop
    ├── PeerFailure                   0xC000  502   a peer could not be reached, refused, or broke off
    │   └── ServerUnavailable         0xC000  503   the model server does not answer; the same call may succeed later
    ├── ModelFailure                  0xC000  502   a model failed on its input, or gave what it does not promise
    ├── InvalidModel                  0xC000  400   a model folder is not what it must be; names file and line
    ├── UnfitSlide                    0xC000  409   the slide or image is not what the model was made for
    ├── ConfigurationError            0xC000  500
    └── ConversionError               0xC000  409
        ├── UnknownSlideFormat        0xC000  415
        ├── TruncatedSlide            0xC000  409
        └── MissingPixelSpacing       0xC000  409

Statuses follow PS3.4 B.2.3 and PS3.18 I.2.2 (failure reasons). A message says what is wrong, with which UID, and what
to do; it never holds an attribute of a patient or text of a report.
"""

from typing import ClassVar


class DicomsvcError(Exception):
    """Root of all errors that dicomsvc raises on purpose."""

    dimse_status: ClassVar[int] = 0xC000
    http_status: ClassVar[int] = 500

    @property
    def message(self) -> str:
        return str(self)


class OutOfResources(DicomsvcError):
    dimse_status = 0xA700
    http_status = 503


class InvalidInstance(DicomsvcError):
    dimse_status = 0xA900
    http_status = 409


class InvalidIdentifier(DicomsvcError):
    dimse_status = 0xA900
    http_status = 400


class NotParseable(DicomsvcError):
    dimse_status = 0xC000
    http_status = 409


class UnsupportedInstance(DicomsvcError):
    dimse_status = 0x0122
    http_status = 415


class OtherStudy(DicomsvcError):
    dimse_status = 0xC409
    http_status = 409


class DuplicateInstance(DicomsvcError):
    dimse_status = 0x0111
    http_status = 409


class NotAllowed(DicomsvcError):
    dimse_status = 0x0124
    http_status = 403


class NotAuthenticated(DicomsvcError):
    dimse_status = 0x0124
    http_status = 401


class NotFound(DicomsvcError):
    dimse_status = 0x0112
    http_status = 404


class NotAcceptable(DicomsvcError):
    http_status = 406


class UnsupportedMediaType(DicomsvcError):
    http_status = 415


class BadRequest(DicomsvcError):
    http_status = 400


class TooLarge(DicomsvcError):
    dimse_status = 0xA700
    http_status = 413


class Conflict(DicomsvcError):
    http_status = 409


class PreconditionFailed(DicomsvcError):
    http_status = 412


class DamagedFile(DicomsvcError):
    http_status = 500


class Cancelled(DicomsvcError):
    dimse_status = 0xFE00
    http_status = 409


class PeerFailure(DicomsvcError):
    http_status = 502


class ServerUnavailable(PeerFailure):
    http_status = 503


class ModelFailure(DicomsvcError):
    http_status = 502


class InvalidModel(DicomsvcError):
    http_status = 400


class UnfitSlide(DicomsvcError):
    http_status = 409


class ConfigurationError(DicomsvcError):
    http_status = 500


class ConversionError(DicomsvcError):
    http_status = 409


class UnknownSlideFormat(ConversionError):
    http_status = 415


class TruncatedSlide(ConversionError):
    pass


class MissingPixelSpacing(ConversionError):
    pass

"""Who may do what.

Today: bearer tokens of named users, kept as SHA-256 digests in the settings (`AuthSettings.tokens`). A service that
only its own machine can reach needs none and calls everybody ``local``. HTTP Basic is taken too, the token as password,
since many DICOM tools know nothing else.
"""

from dicomsvc.auth.tokens import Authenticator, hash_token, new_token

__all__ = ["Authenticator", "hash_token", "new_token"]

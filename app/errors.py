"""Everything that can go wrong, named for what happened. Imports nothing.

::

    PostilError
    ├── UserError                 its text is for the person who asked; exit 2 on the command line
    │   └── SettingsError         a setting that can't be used; names the variable, never its value
    ├── WebhookRejected           a delivery that is not accepted; carries the HTTP status
    ├── HostError                 GitHub did not do what was asked
    │   ├── HostUnavailable       5xx, timeout, odd answer; a write may have happened
    │   ├── HostLimited           a rate limit; carries the seconds to wait
    │   ├── HostRefused           401 or 403: a key, a permission, a lock; names what is missing
    │   ├── HostMissing           404, 410, 451, or a commit that is gone
    │   └── HostInvalid           422: the request itself can't be done
    ├── CodeError                 the object store could not be read
    ├── ModelError                a model's answer can't be used
    │   └── AnswerRejected        it is not the one JSON object that was asked for
    └── BlockedOutput             a text that was about to be posted holds a secret

Each class may carry facts in ``data`` (JSON values only), so that an error crosses a durable step
and comes back as itself. It is translated once, at the adapter that met it.
"""

from __future__ import annotations


class PostilError(Exception):
    """The root of every error that Postil raises on purpose."""

    def __init__(self, message: str, **data: str | float | bool | None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class UserError(PostilError):
    """Something a person can mend; the message is one sentence that names the mend."""


class SettingsError(UserError):
    """A setting that can't be used."""


class WebhookRejected(PostilError):
    """A delivery that is not accepted."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, status=status)
        self.status = status


class HostError(PostilError):
    """GitHub did not do what was asked."""


class HostUnavailable(HostError):
    """GitHub could not be reached or answered oddly; whether a write happened is unknown."""


class HostLimited(HostError):
    """A rate limit was reached."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class HostRefused(HostError):
    """The key or its permissions do not allow this."""

    def __init__(self, message: str, *, status: int, missing: str | None = None) -> None:
        super().__init__(message, status=status, missing=missing)
        self.status = status
        self.missing = missing


class HostMissing(HostError):
    """What was asked for is not there, or not visible to us."""


class HostInvalid(HostError):
    """The request was understood and can't be done, repeated or not."""


class CodeError(PostilError):
    """The object store could not be read."""


class ModelError(PostilError):
    """A model's answer can't be used."""


class AnswerRejected(ModelError):
    """The answer is not the one JSON object that was asked for; the message says what is wrong."""


class BlockedOutput(PostilError):
    """A text that was about to leave holds a secret."""

"""The exception behind a 500 that Flask or Django answers, which no middleware sees pass by."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

#: The key, in the WSGI environ or the ASGI scope, for the exception that an application made an
#: answer of.
ERROR = "lookout.error"


def watch() -> None:
    """Have Flask and Django say why they answer 500, if they have been imported. Never raises.

    Their signals are one each for all applications, and the same receiver is connected once.
    """
    for module, receiver in (("flask", _flask_failed), ("django.core.signals", _django_failed)):
        signal = getattr(sys.modules.get(module), "got_request_exception", None)
        # Before Flask 2.3 signals need blinker, which may be missing.
        with contextlib.suppress(Exception):
            if signal is not None:
                signal.connect(receiver)


def _flask_failed(sender: Any, exception: BaseException | None = None, **_: Any) -> None:
    flask: Any = sys.modules["flask"]
    if flask.has_request_context():
        _say(flask.request.environ, exception)


def _django_failed(sender: Any, request: Any = None, **_: Any) -> None:
    """Called where the exception is being handled, which Django does not hand over."""
    # ``META`` is the WSGI environ itself; an ASGI request has the scope.
    _say(getattr(request, "scope", None) or getattr(request, "META", None), sys.exc_info()[1])


def _say(about: Any, exception: BaseException | None) -> None:
    if about is not None and ERROR in about:
        about[ERROR] = exception

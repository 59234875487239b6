"""The exception behind a 500 of Flask's, which the WSGI middleware does not see pass by."""

from __future__ import annotations

import sys
from typing import Any

#: The environ's key for the exception that an application made an answer of.
ERROR = "lookout.error"


def watch() -> None:
    """Have Flask say why it answers 500, if the application has imported it. Never raises.

    Its signal is one for all its applications, and the same receiver is connected once.
    """
    signal = getattr(sys.modules.get("flask"), "got_request_exception", None)
    try:
        if signal is not None:
            signal.connect(_failed)
    except Exception:  # before Flask 2.3 signals need blinker, which may be missing
        return


def _failed(sender: Any, exception: BaseException | None = None, **_: Any) -> None:
    flask: Any = sys.modules["flask"]
    if flask.has_request_context() and ERROR in flask.request.environ:
        flask.request.environ[ERROR] = exception

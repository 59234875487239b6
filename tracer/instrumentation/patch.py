"""A reversible change of one method of somebody else's class."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Patch:
    """Routes ``owner.name`` through ``around(original, self, *args, **kwargs)``.

    Applying twice changes nothing. Removing puts the original back, unless somebody else has
    patched the method since: then ours stays beneath theirs but only passes on.
    """

    def __init__(self, owner: type, name: str, around: Callable[..., Any]) -> None:
        self._owner, self._name, self._around = owner, name, around
        self._wrapper: Any = None
        self._original: Any = None
        self._on = False

    def apply(self) -> None:
        """Switch it on."""
        if self._wrapper is None:
            self._original = getattr(self._owner, self._name)
            self._wrapper = self._wrap(self._original)
            setattr(self._owner, self._name, self._wrapper)
        self._on = True

    def remove(self) -> None:
        """Switch it off."""
        self._on = False
        if self._wrapper is not None and getattr(self._owner, self._name) is self._wrapper:
            setattr(self._owner, self._name, self._original)
            self._wrapper = None

    def _wrap(self, original: Any) -> Any:
        @functools.wraps(original)
        def wrapper(this: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._on:
                return original(this, *args, **kwargs)
            return self._around(original, this, *args, **kwargs)

        return wrapper

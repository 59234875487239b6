"""The compiled loops over a body's lists do and raise what the Python ones do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lookout_server.spans.primitives as used
from exporters.compiled import SWITCH, load, missing

compiled: Any = load("lookout_server.spans._primitives")
if compiled is None:
    pytest.skip(str(missing("lookout_server.spans._primitives")), allow_module_level=True)


def _in_python() -> ModuleType:
    """The same module as it is where nothing was compiled."""
    spec = importlib.util.spec_from_file_location("lookout_server.spans.in_python", used.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "1")
        spec.loader.exec_module(module)
    return module


python: Any = _in_python()

texts = st.text() | st.sampled_from(["", "a", "\0", "http.method", "ß", "\ud800", "日本"])
numbers = st.integers() | st.integers(-(2**63), 2**63 - 1) | st.none() | st.just(2**63)
hex_digits = st.text("0123456789abcdef", min_size=14, max_size=34)
nearly_hex = hex_digits | st.text("0123456789abcdefABCDEFg-+_ x߀é", min_size=16, max_size=16)


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, or the kind of what it raises."""
    try:
        return function(*arguments)
    except (KeyError, OverflowError, ValueError) as error:
        # Ill-formed text is a ValueError of its own kind where it has to be encoded.
        return ValueError if isinstance(error, ValueError) else type(error)


@given(st.dictionaries(texts, st.integers(0, 2**31 - 1)), st.lists(texts))
def test_texts_have_the_same_codes(known: dict[str, int], more: list[str]) -> None:
    """A text has the number of the dictionary, whoever looks; KeyError where it has none."""
    for wanted in (list(known) + list(known)[::2], list(known) + more):
        assert outcome(compiled.codes, known, wanted) == outcome(python.codes, known, wanted)


@given(st.lists(numbers))
def test_numbers_are_the_same(values: list[int | None]) -> None:
    """None is 0, and what has no room in 64 bits an OverflowError."""
    assert outcome(compiled.longs, values) == outcome(python.longs, values)


@given(st.lists(nearly_hex) | st.lists(st.text("0123456789abcdef", min_size=16, max_size=16)))
def test_hex_digits_are_the_same_numbers(ids: list[str]) -> None:
    """Exactly so many digits in lower case; whatever else is there is a ValueError."""
    for digits in (16, 32):
        wanted = [one * (digits // 16) for one in ids]
        assert outcome(compiled.unhexed, wanted, digits) == outcome(python.unhexed, wanted, digits)


@given(st.lists(st.dictionaries(texts, texts)))
def test_dictionaries_are_taken_apart_alike(dicts: list[dict[str, str]]) -> None:
    """Keys and values in the order they are in, and the keys of each dictionary."""
    assert compiled.unnested(dicts) == python.unnested(dicts)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("codes", ({}, "no list")),
        ("codes", ([], [])),
        ("codes", ({"a": "no number"}, ["a"])),
        ("longs", ((1, 2),)),
        ("longs", (["1"],)),
        ("unhexed", ("no list", 16)),
        ("unnested", ([["no", "dict"]],)),
    ],
)
def test_what_is_no_list_is_refused(name: str, arguments: tuple[Any, ...]) -> None:
    """Whoever calls them with something else is told, and nothing is read that is not there."""
    with pytest.raises(TypeError):
        getattr(compiled, name)(*arguments)


@pytest.mark.parametrize("digits", [0, -16, 8, 17, 2**40])
def test_only_whole_numbers_are_read(digits: int) -> None:
    """Digits come in sixteens, as many as a number has."""
    with pytest.raises(ValueError, match="digits"):
        compiled.unhexed(["0" * 16], digits)


def test_the_switch_leaves_them_out() -> None:
    """With LOOKOUT_PURE_PYTHON the Python functions are used."""
    code = "import lookout_server.spans.primitives as p; print(type(p.codes).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, SWITCH: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "function"

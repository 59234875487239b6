"""The compiled core does what the Python code beside it does, and leaves nothing behind."""

from __future__ import annotations

import ast
import contextlib
import contextvars
import gc
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tracer
from exporters.compiled import MODULES, missing
from exporters.ring import Ring
from tracer import AlwaysOff
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

from .programs import outcome

ROOT = Path(__file__).resolve().parents[2]
REASON = f"spans run in Python here: {missing('tracer._core')}"
compiled_only = pytest.mark.skipif(tracer.implementation() == "python", reason=REASON)


@pytest.fixture(scope="module")
def reference() -> Iterator[Callable[[str], str]]:
    """Has a process without compiled modules run a program."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.tracer.programs"],
        env={**os.environ, "LOOKOUT_PURE_PYTHON": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout
    sent, answers = child.stdin, child.stdout

    def ask(program: str) -> str:
        sent.write(program + "\n")
        sent.flush()
        return answers.readline().rstrip("\n")

    with child:
        yield ask
        sent.close()


numbers = st.integers(0, 60)
programs = st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=30)


@compiled_only
@given(st.integers(0, 3), programs)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_both_forms_do_the_same(
    reference: Callable[[str], str], sampler: int, program: list[tuple[int, int, int, int]]
) -> None:
    """Whatever is called in whatever order, with whatever values: what comes out is the same."""
    line = json.dumps([sampler, program])
    assert json.loads(outcome(*json.loads(line))) == json.loads(reference(line))


def starter(sampled: bool) -> Callable[..., tracer.Span]:
    ring: Ring[object] = Ring(64)
    pipeline = Pipeline(ring.offer)
    if not sampled:
        pipeline.set_sampler(AlwaysOff())
    return Tracer(pipeline).start_span


def work(start: Callable[..., tracer.Span], count: int) -> None:
    for number in range(count):
        with start("parent", tags={"a": 1}) as parent:
            with start("child", kind=2) as child:
                child.set_tag("number", number).set_attribute("list", [number])
                child.set_tag([], 1)  # type: ignore[arg-type]
            parent.finish()
            start("never finished").__enter__()
            start("elsewhere", parent=None)
        with contextlib.suppress(ValueError), start("fails"):
            raise ValueError
        for wrong in (start, lambda: start("a", nothing=1), lambda: parent.set_tag("a")):
            with contextlib.suppress(TypeError):
                wrong()


@pytest.mark.parametrize("sampled", [False, True])
def test_spans_leave_nothing_behind(sampled: bool) -> None:
    """Many spans later no more memory is used, be they finished, failed, or never left."""
    start = starter(sampled)
    references = (start.__self__, None, True, False)  # type: ignore[attr-defined]

    def round_(count: int) -> None:
        contextvars.Context().run(work, start, count)
        gc.collect()

    round_(200)
    tracemalloc.start()
    try:
        round_(200)
        before = tracemalloc.get_traced_memory()[0], sys.getrefcount(references[0])
        round_(2_000)
        after = tracemalloc.get_traced_memory()[0], sys.getrefcount(references[0])
    finally:
        tracemalloc.stop()
    assert after[0] - before[0] < 20_000  # bytes: 10 a parent would be a leak
    assert after[1] == before[1]


def test_a_span_in_a_cycle_is_collected() -> None:
    """A span that holds what holds it is freed by the garbage collector."""

    class Name(str):
        pass

    name = Name("cycle")
    span = starter(False)(name)
    name.span = span  # type: ignore[attr-defined]
    gone = weakref.ref(name)
    del name, span
    gc.collect()
    assert gone() is None


def test_the_variable_leaves_the_compiled_core_out() -> None:
    """``LOOKOUT_PURE_PYTHON=1`` runs spans in Python alone; ``tracer.implementation()`` says so."""
    code = "import sys, tracer; print(tracer.implementation(), 'tracer._core' in sys.modules)"
    environment = {**os.environ, "LOOKOUT_PURE_PYTHON": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["python", "False"]


def test_what_is_built_is_what_is_looked_for() -> None:
    """Every compiled module that ``lookout doctor`` asks for is one that installing builds."""
    hook = ast.parse((ROOT / "hatch_build.py").read_text())
    (built,) = (
        ast.literal_eval(node.value)
        for node in hook.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXTENSIONS"
    )
    assert built.keys() == MODULES.keys()


def build(tree: Path, **environment: str) -> str:
    """The name of the wheel that is built from ``tree``."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"],
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )
    (wheel,) = (tree / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        compiled = [name for name in archive.namelist() if name.startswith("tracer/_core")]
    return f"{wheel.name.split('-', 2)[2]} {len(compiled)}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The sources of the library, without anything built."""
    if not (ROOT / "tracer" / "_core.c").exists():
        pytest.skip("the sources are not here: the wheel is tested")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "node_modules")
    for package in ("tracer", "lookout_client", "lookout_server", "exporters"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=unwanted)
    return tmp_path


def test_without_a_compiler_the_wheel_is_pure_python(tree: Path) -> None:
    """Installing needs no C compiler: without one the wheel holds Python alone, for any machine."""
    assert build(tree, CC="/nonexistent/cc", LOOKOUT_PURE_PYTHON="") == "py3-none-any.whl 0"


@compiled_only
def test_with_a_compiler_the_wheel_is_for_this_interpreter(tree: Path) -> None:
    """With a C compiler the wheel holds the compiled module and is tagged so."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler here")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    name = build(tree, LOOKOUT_PURE_PYTHON="")
    assert name.startswith(f"{tag}-{tag}-")
    assert name.endswith(" 1")

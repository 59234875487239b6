"""What the environment alone can choose: provider, propagators, samplers, ids."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script beside the files of ``tmp_path``; what it printed, on both streams."""

    def script(code: str, **environment: str) -> str:
        (tmp_path / "app.py").write_text(code)
        done = subprocess.run(
            [sys.executable, "app.py"],
            cwd=tmp_path,
            env={
                **{name: value for name, value in os.environ.items() if name[:5] != "OTEL_"},
                "LOOKOUT_COLLECTOR": "http://127.0.0.1:9",
                "LOOKOUT_EXIT_TIMEOUT": "0.1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return script


APP = """
import logging
logging.basicConfig()  # we print nothing where the application has not set up logging
from opentelemetry import trace
from opentelemetry.propagate import inject
with trace.get_tracer("app").start_as_current_span("a") as span:
    carrier = {}
    inject(carrier)
    print(type(span).__module__, sorted(carrier))
"""


def test_the_environment_chooses_our_provider(run: Run) -> None:
    """OTEL_PYTHON_TRACER_PROVIDER=lookout is all an application needs."""
    assert "tracer.recorded ['traceparent']" in run(APP, OTEL_PYTHON_TRACER_PROVIDER="lookout")


@pytest.mark.parametrize(
    ("names", "headers"),
    [
        ("sofa", "['sftc_head']"),
        ("jaeger", "['uber-trace-id']"),
        ("b3,tracecontext", "['b3', 'traceparent']"),
        ("lookout", "['traceparent']"),
    ],
)
def test_the_environment_chooses_propagators(run: Run, names: str, headers: str) -> None:
    """OTEL_PROPAGATORS takes our names beside OpenTelemetry's."""
    shown = run(APP, OTEL_PYTHON_TRACER_PROVIDER="lookout", OTEL_PROPAGATORS=names)
    assert f"tracer.recorded {headers}" in shown


@pytest.mark.parametrize("module", ["tracer", "exporters"])
def test_a_module_of_the_users_in_our_way_is_named_not_run(
    run: Run, tmp_path: Path, module: str
) -> None:
    """The application works on, untraced; the log names the file; the file is not executed."""
    (tmp_path / f"{module}.py").write_text("print('RAN')")
    shown = run(APP, OTEL_PYTHON_TRACER_PROVIDER="lookout", OTEL_PROPAGATORS="sofa")
    assert "[]" in shown
    assert f"{module}.py hides Lookout's package {module}" in shown
    assert "RAN" not in shown


SDK = """
import os
from opentelemetry import trace
from opentelemetry.sdk._configuration import _initialize_components
_initialize_components(auto_instrumentation_version="1")
provider = trace.get_tracer_provider()
print(type(provider).__module__, provider.sampler.get_description())
kept = 0
for _ in range(200):
    with provider.get_tracer("app").start_as_current_span("a") as span:
        kept += span.is_recording()
trace_id = f"{span.get_span_context().trace_id:032x}"
print("kept", kept, "pid", trace_id.endswith(str(os.getpid())))
"""


def test_users_of_the_sdk_may_take_only_our_sampler_and_ids(run: Run) -> None:
    """k-in-100 keeps exactly k of each hundred under OpenTelemetry's SDK; SOFA's ids hold the
    process id."""
    shown = run(
        SDK,
        OTEL_TRACES_SAMPLER="lookout_k_in_100",
        OTEL_TRACES_SAMPLER_ARG="7",
        OTEL_PYTHON_ID_GENERATOR="lookout_sofa",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert "opentelemetry.sdk.trace Lookout(" in shown
    assert "kept 14 pid True" in shown

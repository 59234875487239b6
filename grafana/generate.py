"""Write the dashboards: ``python -m grafana.generate`` (they are committed; a test compares)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from .expressions import SERVICES, Panel
from .operations import CLICKHOUSE, COLLECTOR, RUNTIME, SPANS, TRACES

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="lookout-prometheus")
WIDTH, HEIGHT = 8, 8  # three in a row: the grid is 24 wide


def time_series(panel: Panel) -> TimeSeries:
    """One graph with its queries; exemplars are asked for, they are the way to the traces."""
    built = TimeSeries().title(panel.title).unit(panel.unit).span(WIDTH).height(HEIGHT)
    built = built.description(panel.description).datasource(SOURCE)
    for legend, expression in panel.expressions.items():
        query = Dataquery().expr(expression).legend_format(legend).exemplar(True)
        built = built.with_target(query.datasource(SOURCE))
    return built


def services() -> Dashboard:
    """Rate, errors and duration of every service that reports to the collector."""
    job = QueryVariable("job").label("Service").datasource(SOURCE)
    job = job.query("label_values(http_server_request_duration_seconds_count, job)")
    board = Dashboard("Services").uid("lookout-services").tags(["lookout"]).refresh("10s")
    board = board.time("now-15m", "now").with_variable(job.multi(True).include_all(True))
    for panel in SERVICES:
        board = board.with_panel(time_series(panel))
    return board


def traces() -> Dashboard:
    """The same of every service that reports spans, and who calls whom."""
    service = QueryVariable("service").label("Service").datasource(SOURCE)
    service = service.query(f"label_values({SPANS}_count, service)")
    board = _board("Services by their spans", "lookout-spans", TRACES)
    return board.with_variable(service.multi(True).include_all(True))


def runtime() -> Dashboard:
    """CPU, memory, threads and garbage collection of the processes."""
    job = QueryVariable("job").label("Service").datasource(SOURCE)
    job = job.query("label_values(process_cpu_time_seconds_total, job)")
    board = _board("Runtime", "lookout-runtime", RUNTIME)
    return board.with_variable(job.multi(True).include_all(True))


def collector() -> Dashboard:
    """What the collector takes, keeps and refuses (needs ``scrape_self``)."""
    return _board("Collector", "lookout-collector", COLLECTOR)


def clickhouse() -> Dashboard:
    """Batches, parts and disk of the database (needs ``scrape_self``)."""
    return _board("ClickHouse", "lookout-clickhouse", CLICKHOUSE)


def _board(title: str, uid: str, panels: Sequence[Panel]) -> Dashboard:
    board = Dashboard(title).uid(uid).tags(["lookout"]).refresh("10s").time("now-15m", "now")
    for panel in panels:
        board = board.with_panel(time_series(panel))
    return board


DASHBOARDS = {
    "services": services,
    "traces": traces,
    "runtime": runtime,
    "collector": collector,
    "clickhouse": clickhouse,
}
#: What each dashboard asks.
PANELS = {
    "services": SERVICES,
    "traces": TRACES,
    "runtime": RUNTIME,
    "collector": COLLECTOR,
    "clickhouse": CLICKHOUSE,
}


def rendered(name: str) -> str:
    """A dashboard as the JSON that is committed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(DASHBOARDS[name]().build()) + "\n"


def main() -> None:
    """Write every dashboard."""
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(rendered(name))


if __name__ == "__main__":
    main()

"""What the dashboards of spans, runtimes, the collector and ClickHouse ask."""

from __future__ import annotations

from .expressions import Panel

SPANS = "lookout_span_duration_seconds"
GRAPH = "traces_service_graph_request"
OURS = "lookout_collector"


def _spans(suffix: str, by: str, more: str = "") -> str:
    matchers = f'service=~"$service",kind=~"server|consumer"{more}'
    return f"sum by ({by}) (rate({SPANS}_{suffix}{{{matchers}}}[$__rate_interval]))"


def _ours(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({OURS}_{metric}[$__rate_interval]))"


def _slowest(metric: str, by: str) -> str:
    return f"histogram_quantile(0.99, {_ours(f'{metric}_bucket', f'le, {by}')})"


#: Rate, errors and duration as the spans tell them, whatever made the spans.
TRACES = (
    Panel("Spans served", "reqps", {"{{service}}": _spans("count", "service")}),
    Panel(
        "Failed",
        "percentunit",
        {
            "{{service}}": _spans("count", "service", ',status="error"')
            + " / "
            + _spans("count", "service")
        },
        "Share of spans with an error.",
    ),
    Panel(
        "Duration, 95 of 100",
        "s",
        {"{{service}}": f"histogram_quantile(0.95, {_spans('bucket', 'le, service')})"},
        "Exemplars lead to the slowest traces.",
    ),
    Panel(
        "Busiest spans",
        "reqps",
        {"{{service}} {{span_name}}": "topk(10, " + _spans("count", "service, span_name") + ")"},
    ),
    Panel(
        "Slowest spans, mean",
        "s",
        {
            "{{service}} {{span_name}}": "topk(10, "
            + _spans("sum", "service, span_name")
            + " / "
            + _spans("count", "service, span_name")
            + ")"
        },
    ),
    Panel(
        "Calls between services",
        "reqps",
        {
            "{{client}} to {{server}}": (
                f"sum by (client, server) (rate({GRAPH}_total[$__rate_interval]))"
            )
        },
        "From pairs of client and server spans.",
    ),
)

_RUNTIME = 'job=~"$job"'

#: The processes behind the services: CPU, memory, threads and garbage.
RUNTIME = (
    Panel(
        "CPU",
        "percentunit",
        {
            "{{job}} {{cpu_mode}}": "sum by (job, cpu_mode) "
            f"(rate(process_cpu_time_seconds_total{{{_RUNTIME}}}[$__rate_interval]))"
        },
        "Of one core.",
    ),
    Panel(
        "Resident memory",
        "bytes",
        {"{{job}}": f"sum by (job) (process_memory_usage_bytes{{{_RUNTIME}}})"},
    ),
    Panel("Threads", "none", {"{{job}}": f"sum by (job) (process_thread_count{{{_RUNTIME}}})"}),
    Panel(
        "Open files",
        "none",
        {"{{job}}": f"sum by (job) (process_unix_file_descriptor_count{{{_RUNTIME}}})"},
    ),
    Panel(
        "Garbage collections",
        "ops",
        {
            "{{job}} generation {{cpython_gc_generation}}": "sum by (job, cpython_gc_generation) "
            f"(rate(cpython_gc_collections_total{{{_RUNTIME}}}[$__rate_interval]))"
        },
    ),
    Panel(
        "Context switches",
        "ops",
        {
            "{{job}} {{process_context_switch_type}}": (
                "sum by (job, process_context_switch_type) "
                f"(rate(process_context_switches_total{{{_RUNTIME}}}[$__rate_interval]))"
            )
        },
    ),
)

#: Whether the collector keeps up, and what it refuses.
COLLECTOR = (
    Panel("Rows accepted", "cps", {"{{signal}} {{format}}": _ours("rows_total", "signal, format")}),
    Panel("Rows stored", "cps", {"{{signal}}": _ours("stored_rows_total", "signal")}),
    Panel(
        "Dropped and refused",
        "cps",
        {
            "{{signal}} {{reason}}": _ours("dropped_rows_total", "signal, reason"),
            "refused: {{reason}}": _ours("refused_total", "reason"),
        },
    ),
    Panel(
        "Accepted to queryable, 99 of 100",
        "s",
        {"{{signal}}": _slowest("stored_delay_seconds", "signal")},
    ),
    Panel("Rows waiting", "none", {"{{signal}}": f"sum by (signal) ({OURS}_waiting_rows)"}),
    Panel(
        "Journal",
        "bytes",
        {"{{job}}": f"sum by (job) ({OURS}_journal_bytes)"},
        "Bodies on disk that ClickHouse does not have yet.",
    ),
)

#: The database below: batches, parts and disk.
CLICKHOUSE = (
    Panel("Batches", "ops", {"{{signal}}": _ours("batch_seconds_count", "signal")}),
    Panel("Time of a batch, 99 of 100", "s", {"{{signal}}": _slowest("batch_seconds", "signal")}),
    Panel(
        "Rows of a batch, mean",
        "none",
        {
            "{{signal}}": _ours("batch_rows_sum", "signal")
            + " / "
            + _ours("batch_rows_count", "signal")
        },
    ),
    Panel("Parts", "none", {"{{table}}": f"sum by (table) ({OURS}_table_parts)"}),
    Panel("Bytes on disk", "bytes", {"{{table}}": f"sum by (table) ({OURS}_table_bytes)"}),
    Panel("Disk free", "bytes", {"{{job}}": f"min by (job) ({OURS}_disk_free_bytes)"}),
)

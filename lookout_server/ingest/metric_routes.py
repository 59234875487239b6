"""The ways in for metrics over HTTP."""

from __future__ import annotations

from starlette.routing import BaseRoute

from ..config import ServerConfig
from ..metrics.span_service import SpanMetricsService
from ..scrape import ScrapeConfig, Scraper, load_scrape_config
from ..scrape.config import Job, TargetGroup
from ..server import Server, Service
from .gateway_routes import gateway_routes
from .otlp_metric_routes import otlp_metric_routes
from .remote_write_routes import remote_write_routes


def routes(server: Server) -> list[BaseRoute]:
    """All routes that take metrics."""
    return [
        *remote_write_routes(server),
        *otlp_metric_routes(server),
        *gateway_routes(server),
    ]


def services(server: Server) -> list[Service]:
    """What makes metrics beside the HTTP API, as configured."""
    found: list[Service] = []
    config = server.config
    if config.span_metrics_interval > 0:
        spans = SpanMetricsService(
            server, config.span_metrics_interval, config.span_metrics_keys_max
        )
        server.observe_stored("spans", spans.observe)
        found.append(spans)
    jobs = scrape_jobs(config)
    if jobs.jobs:
        found.append(Scraper(server, jobs, config.scrape_tenant))
    return found


def scrape_jobs(config: ServerConfig) -> ScrapeConfig:
    """What is to be scraped. Raises ScrapeConfigInvalid (a ValueError)."""
    jobs: tuple[Job, ...] = ()
    if config.scrape_config is not None:
        jobs = load_scrape_config(config.scrape_config).jobs
    if config.scrape_self > 0:
        own = TargetGroup((config.listen,), {})
        interval = config.scrape_self
        jobs += (Job("lookout", interval=interval, timeout=min(interval, 10.0), groups=(own,)),)
    return ScrapeConfig(jobs)

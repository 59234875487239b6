"""What a Prometheus server reads: the exposition formats and the ways to serve them."""

from .asgi import metrics_asgi
from .negotiation import Answer, Exposition
from .server import ScrapeServer, start_server
from .wsgi import metrics_wsgi

__all__ = [
    "Answer",
    "Exposition",
    "ScrapeServer",
    "metrics_asgi",
    "metrics_wsgi",
    "start_server",
]

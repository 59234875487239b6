"""What a Prometheus server reads: the exposition formats and the ways to serve them."""

from .asgi import asgi_app
from .negotiation import Exposition, exposition_for
from .server import ScrapeServer, start_server
from .wsgi import wsgi_app

__all__ = [
    "Exposition",
    "ScrapeServer",
    "asgi_app",
    "exposition_for",
    "start_server",
    "wsgi_app",
]

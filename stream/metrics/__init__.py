"""Every metric, the page of several processes as one, and the server that shows either.

Only this room knows Prometheus' client.
"""

from .merged import Merged
from .server import CONNECTIONS_MAX, MetricsServer
from .worker import MODES, Metrics

__all__ = ["CONNECTIONS_MAX", "MODES", "Merged", "Metrics", "MetricsServer"]

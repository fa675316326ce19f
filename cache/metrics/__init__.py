"""Where the counts of a service go: a `Publisher` takes them every few seconds and gives them to sinks.

The counting itself is in `cache.stats` and costs a lookup nothing more; a sink is a class with one method. Sinks that
need a package of their own are imported by their module: `cache.metrics.dogstatsd`, `.cloudwatch`, `.prometheus`.
"""

from cache.metrics.access_log import AccessLog
from cache.metrics.publisher import Publisher, Sink
from cache.metrics.report import HIT, MISS, NONE, Report, RequestTally, ServerState

__all__ = ["HIT", "MISS", "NONE", "AccessLog", "Publisher", "Report", "RequestTally", "ServerState", "Sink"]

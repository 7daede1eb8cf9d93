"""What the text worker is doing, as Prometheus text on a port of this machine."""

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.backends.gauges import Gauges

ADDRESS = "127.0.0.1"  # whoever wants it elsewhere puts a proxy with a lock before it
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

log = logging.getLogger(__name__)


class BatchCollector(Collector):
    """Reads the batch's counts when Prometheus asks."""

    def __init__(self, gauges: Gauges, slots: int) -> None:
        self._gauges = gauges
        self._slots = slots
        self._waits = Histogram(
            "pastiche_queue_wait_seconds",
            "From a job's arrival at the worker to its place in the batch.",
            buckets=SECONDS,
            registry=None,
        )
        self._firsts = Histogram(
            "pastiche_first_token_seconds",
            "From its place in the batch to its first token.",
            buckets=SECONDS,
            registry=None,
        )

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        counts = self._gauges
        yield GaugeMetricFamily("pastiche_slots", "Rows of the batch.", self._slots)
        yield GaugeMetricFamily("pastiche_slots_busy", "Rows that are in use.", counts.busy)
        for name, about, value in (
            ("pastiche_tokens_in", "Tokens of prompts.", counts.tokens_in),
            ("pastiche_tokens_known", "Tokens of prompts that were known.", counts.tokens_known),
            ("pastiche_tokens_out", "Tokens written.", counts.tokens_out),
        ):
            yield CounterMetricFamily(name, about, value)
        for histogram, seconds in ((self._waits, counts.waits), (self._firsts, counts.firsts)):
            while seconds:
                histogram.observe(seconds.popleft())
            yield from histogram.collect()


def show_metrics(backend: object, slots: int, port: int) -> int:
    """Serve them from now on; the port (0 chooses one). A backend that counts nothing shows nothing.

    A port that is taken (by another worker of this machine) is logged and no error: 0 is returned.
    """
    gauges = getattr(backend, "gauges", None)
    if not isinstance(gauges, Gauges):
        return 0
    registry = CollectorRegistry()
    registry.register(BatchCollector(gauges, slots))
    try:
        server, _thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        log.warning("the metrics are not shown", extra={"port": port, "reason": error.strerror})
        return 0
    return int(server.server_port)

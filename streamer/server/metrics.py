"""The numbers of /metrics, read from the pipeline and the bus at each scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import streamer
from streamer.events import Event, SourceState, StreamStats, TranscriptFinal
from streamer.server.context import Context

LATENCIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("encoder_passes", "encoder_passes", "Runs of the encoder."),
    ("lost_seconds", "lost", "Seconds of audio lost to gaps."),
    ("partials_replaced", "partials_replaced", "Partials that a newer one overtook before they ran."),
    ("ambient_stretched", "ambient_stretched", "Ambient passes skipped under load."),
    ("finals", "finals", "Utterances that got their final."),
)
"""Metric, field of StreamStats, help."""

GAUGES: tuple[tuple[str, str, str], ...] = (
    ("encoder_passes_per_second", "passes_per_second", "Encoder passes a second of audio, lately."),
    ("lag_seconds", "lag", "Seconds between the newest sample and the newest that was inferred."),
    ("position_seconds", "position", "Seconds of the stream's clock heard so far."),
    ("finals_waiting", "finals_waiting", "Utterances that wait for their final."),
)


class Metrics(Collector):
    """A registry of its own, so that two servers in one process do not meet."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.registry = CollectorRegistry(auto_describe=False)
        self._latency = Histogram(
            "streamer_final_latency_seconds",
            "From the endpoint's decision to the final.",
            buckets=LATENCIES,
            registry=self.registry,
        )
        self.registry.register(self)

    def observe(self, event: Event) -> None:
        """A sink for the bus."""
        if isinstance(event, TranscriptFinal):
            self._latency.observe(event.latency_ms / 1000)

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of the first scrape: the pipeline may not have its model yet."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Every family, from one look at the pipeline."""
        pipeline, bus = self._context.pipeline, self._context.bus
        info = GaugeMetricFamily("streamer_build_info", "Always 1.", labels=["version", "model"])
        info.add_metric([streamer.__version__, pipeline.model.name], 1)
        yield info
        yield GaugeMetricFamily(
            "streamer_ready", "Whether the model is loaded and warm.", float(pipeline.ready)
        )
        yield GaugeMetricFamily("streamer_clients", "Websocket clients connected.", bus.clients)
        yield GaugeMetricFamily(
            "streamer_pushed_streams", "Streams that clients push now.", len(self._context.pushed)
        )
        yield CounterMetricFamily("streamer_events", "Events published.", bus.last_seq)
        yield CounterMetricFamily(
            "streamer_events_dropped", "Droppable events that slow clients missed.", bus.events_dropped
        )
        yield CounterMetricFamily(
            "streamer_clients_disconnected", "Clients disconnected for being slow.", bus.clients_disconnected
        )
        stats = pipeline.stats()
        for name, field, text in COUNTERS:
            yield _fill(
                CounterMetricFamily(f"streamer_{name}", text, labels=["stream"]), field, stats.items()
            )
        for name, field, text in GAUGES:
            yield _fill(GaugeMetricFamily(f"streamer_{name}", text, labels=["stream"]), field, stats.items())
        suppressed = CounterMetricFamily(
            "streamer_finals_suppressed", "Finals whose text was not believed.", labels=["stream", "reason"]
        )
        for stream, numbers in stats.items():
            for reason, count in numbers.suppressed.items():
                suppressed.add_metric([stream, reason], count)
        yield suppressed
        states = GaugeMetricFamily(
            "streamer_source_state", "1 for the state a source is in.", labels=["stream", "state"]
        )
        for stream, current in pipeline.states().items():
            for state in SourceState:
                states.add_metric([stream, state.value], float(state == current))
        yield states


def _fill(
    family: CounterMetricFamily | GaugeMetricFamily, field: str, stats: Iterable[tuple[str, StreamStats]]
) -> Metric:
    for stream, numbers in stats:
        family.add_metric([stream], getattr(numbers, field))
    return family

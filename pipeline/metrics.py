"""What a worker did, as Prometheus metrics through Ray's own exporter: Grafana that watches the cluster sees it beside Ray's.

    ray_silver_parts_total, ray_silver_rows_total, ray_silver_errors_total           {corpus, stage}
    ray_silver_dropped_rows_total, ray_silver_dropped_seconds_total                  {corpus, stage, reason}
    ray_silver_audio_seconds_total, ray_silver_worker_seconds_total                  {corpus, stage}
    ray_silver_times_real_time (of the last part)                                    {corpus, stage}

`sum by (stage) (rate(ray_silver_audio_seconds_total[5m]))` is how many times as fast as real time the whole cluster is.
"""

from __future__ import annotations

from manifests.funnel import own_drops
from pipeline.worker import Made

_TAGS = ("corpus", "stage")


class Metrics:
    """Counters of one worker. Only inside Ray."""

    def __init__(self, corpus: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._corpus = corpus
        self._parts = Counter("silver_parts", "parts made", _TAGS)
        self._rows = Counter("silver_rows", "rows that a stage handed on", _TAGS)
        self._errors = Counter("silver_errors", "rows that could not be processed", _TAGS)
        self._dropped_rows = Counter("silver_dropped_rows", "rows that a stage dropped", (*_TAGS, "reason"))
        self._dropped_seconds = Counter("silver_dropped_seconds", "audio that a stage dropped", (*_TAGS, "reason"))
        self._audio = Counter("silver_audio_seconds", "audio that came to a stage", _TAGS)
        self._worker = Counter("silver_worker_seconds", "time that workers spent", _TAGS)
        self._speed = Gauge("silver_times_real_time", "audio over time of the last part", _TAGS)

    def made(self, made: Made) -> None:
        """Count a part, unless it was there already."""
        if not made.fresh:
            return
        tags = {"corpus": self._corpus, "stage": made.stage}
        for counter, value in (
            (self._parts, 1), (self._rows, made.ref.counts.live), (self._errors, made.errors), (self._audio, made.audio_seconds),
            (self._worker, made.seconds_taken),
        ):  # fmt: skip
            if value > 0:
                counter.inc(value, tags)
        if made.seconds_taken > 0:
            self._speed.set(made.audio_seconds / made.seconds_taken, tags)
        for reason, (rows, seconds) in own_drops(made.stage, made.ref.counts).items():
            self._dropped_rows.inc(rows, tags | {"reason": reason})
            if seconds > 0:
                self._dropped_seconds.inc(seconds, tags | {"reason": reason})

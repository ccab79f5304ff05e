"""What operators see: log lines and metrics. No business words, no policy.

Logs go to standard error, one event a line, with everything that looks like a key taken out at the sink; a line that
cannot be written is lost, the request that caused it is not. Metrics are summed over all workers and over those that
died; a metric that cannot be written raises, because the files lie on the disk that the ledger needs as well.

Flow enters through the standard `logging` and through the one `Metrics` object that the assembly hands down; it leaves
on standard error and through `Metrics.render`. `observe.metrics` is imported by its own name and only after
`share_metrics` was called, since prometheus_client decides at import whether processes share their values.
"""

from aiservice.observe.logging import REQUEST_ID, LogStyle, configure_logging
from aiservice.observe.shared import share_metrics

__all__ = ["REQUEST_ID", "LogStyle", "configure_logging", "share_metrics"]

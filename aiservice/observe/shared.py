"""Prepares the folder in which the processes share their metrics; imports nothing of prometheus_client."""

import os
import shutil
import sys
from pathlib import Path


def share_metrics(directory: Path) -> None:
    """Empties the folder and tells prometheus_client of it, for this process and those forked from it.

    Raises `RuntimeError` when prometheus_client was imported before: it has chosen by then, and the metrics of the
    workers would not be summed. This is the one place outside the settings that touches the environment.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("share_metrics comes before the first import of prometheus_client")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)

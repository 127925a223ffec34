"""What starts export jobs beside the API: a thread that hands each to Dagster within a second."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING

from etl_assets.dagster_home import dagster_instance
from etl_assets.exports.dagster_runs import submit_due
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between two looks at the queue, each of which costs a millisecond: half of the second that a start may take."""

LONGEST_PAUSE_S = 30.0
"""Between two looks while they fail: the pause doubles up to it."""


class Submitter:
    """Looks for jobs that are due until it is stopped. Whatever fails is logged and tried again."""

    def __init__(
        self, settings: Settings, *, now: Callable[[], datetime] = utc_now,
        open_instance: "Callable[[Settings], AbstractContextManager[dg.DagsterInstance]]" = dagster_instance,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._now = now
        self._open_instance = open_instance
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="export-submitter", daemon=True)

    def start(self) -> None:
        """Begin to look. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; waits for the look that is at work. What it has claimed is started before."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        pause = LOOK_S
        while not self._stopped.is_set():
            try:
                with self._open_instance(self._settings) as instance:
                    while not self._stopped.is_set():
                        submit_due(self._settings, instance, now=self._now())
                        pause = LOOK_S
                        self._stopped.wait(pause)
            except Exception:
                pause = min(pause * 2, LONGEST_PAUSE_S)
                logger.exception("Export jobs could not be handed to Dagster; trying again in %g s", pause)
                self._stopped.wait(pause)

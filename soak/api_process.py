"""The API under the soak's clock: ``python -m soak.api_process CLOCK PORT``. Otherwise it is the real one."""

import logging
import sys
from pathlib import Path

from etl_assets.api.server import serve
from etl_assets.market_time import use_clock
from etl_assets.settings import settings
from soak.clock import SharedClock

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    use_clock(SharedClock(Path(sys.argv[1])))
    serve(settings(), "127.0.0.1", int(sys.argv[2]))

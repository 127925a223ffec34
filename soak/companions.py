"""The processes beside the pipeline: the API, its clients, an analyst, a backup."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx

from soak.analyst import Study, study
from soak.clients import CLIENTS, Load, press
from soak.growth import resident_mb

START_S = 60
END_S = 60


def api_environment() -> dict[str, str]:
    """The clients and the signing key of a soak's API."""
    from etl_assets.api.keys import new_key

    return {"CLIENT_IDS": json.dumps(CLIENTS), "SIGNING_KEYS": json.dumps([new_key("ES256")])}


def back_up(folder: Path, moment: datetime) -> Path:
    """Take a backup as of a moment, as ``etl-assets backup`` would; returns its folder."""
    from etl_assets.backup.take import take_backup
    from etl_assets.settings import settings

    return take_backup(settings(), settings().dagster_home, folder / "backups", now=moment).folder


class Companions:
    """Started together, stopped together; the API may be killed, and is then started again."""

    def __init__(self, folder: Path, port: int, seed: int) -> None:
        self._folder, self._port = folder, port
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._up = self._context.Value("i", 0)
        self._api = self._started()
        clock = folder / "clock"
        self._clients = self._beside(press, clock, f"http://127.0.0.1:{port}", self._up, seed)
        self._analyst = self._beside(study, clock, folder / "data" / "warehouse.duckdb", seed)
        self.api_kills = 0

    @property
    def api_mb(self) -> float:
        """Memory of the API's process, in MB."""
        return resident_mb(self._api.pid)

    def kill_api(self) -> None:
        """Kill the API, and start it again, as systemd would."""
        self._up.value = 0
        self._api.kill()
        self._api.wait()
        self.api_kills += 1
        self._api = self._started()

    def end(self) -> tuple[Study, Load]:
        """Stop all, and say what they met; of one that did not live to tell, that."""
        study, load = (self._ended(*each) for each in (self._analyst, self._clients))
        self.close()
        gone = [f"did not live to tell: see driver.log and {self._folder / 'api.log'}"]
        return study or Study(wrong=gone), load or Load(wrong=gone)

    def close(self) -> None:
        """Stop what still runs."""
        for process, _ in (self._analyst, self._clients):
            process.kill()
            process.join()
        self._up.value = 0
        self._api.terminate()
        try:
            self._api.wait(END_S)
        except subprocess.TimeoutExpired:
            self._api.kill()
            self._api.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "api.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "soak.api_process", str(self._folder / "clock"), str(self._port)],
                stdout=log, stderr=log, env=os.environ,
            )  # fmt: skip
        try:
            self._await_answer(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._up.value = 1
        return process

    def _await_answer(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{self._port}/health/live", timeout=5, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"The API did not start: see {self._folder / 'api.log'}")

    def _beside(self, work: Any, *arguments: Any) -> tuple[BaseProcess, Connection]:  # noqa: ANN401 (any function's)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def _ended(self, process: BaseProcess, pipe: Connection) -> Any:  # noqa: ANN401 (what it found)
        """What a companion found; None where it is gone, or does not answer."""
        try:
            pipe.send("end")
            return pipe.recv() if pipe.poll(END_S) else None
        except (EOFError, OSError):
            process.join(END_S)
            return None

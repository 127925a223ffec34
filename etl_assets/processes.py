"""``etl-assets up``: the code server, Dagster's webserver and daemon, and the simulator where the data is simulated.

One code server for both of Dagster's processes: it is what costs memory, and a separate one is not reloaded under a
running tick.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.dagster_home import prepare_dagster_home
from etl_assets.demo import refuse_simulated, simulated_sources
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings, settings

if TYPE_CHECKING:
    from rich.console import Console

STOP_TIMEOUT_S = 30
START_TIMEOUT_S = 120
POLL_S = 0.2
PR_SET_PDEATHSIG = 1

WORKSPACE = """load_from:
  - grpc_server:
      host: 127.0.0.1
      port: {port}
      location_name: etl_assets
"""


class ProcessEndedError(RuntimeError):
    """One of the processes ended by itself."""


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dagster(tool: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).with_name(tool))


@contextmanager
def running(host: str, port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Dagster's three processes, stopped in the reverse order of their start whatever happens inside."""
    home = prepare_dagster_home(settings())
    code_port = free_port()
    workspace = home / "workspace.yaml"
    workspace.write_text(WORKSPACE.format(port=code_port))
    quiet = ["--log-level", "warning"]
    commands = [
        [_dagster("dagster"), "code-server", "start", "-h", "127.0.0.1", "-p", str(code_port),
         "-m", "etl_assets.definitions", *quiet],
        [_dagster("dagster-daemon"), "run", "-w", str(workspace), *quiet],
        [_dagster("dagster-webserver"), "-h", host, "-p", str(port), "-w", str(workspace), *quiet],
    ]  # fmt: skip
    with ExitStack() as started:
        processes = []
        for command in commands:
            process = subprocess.Popen(  # noqa: S603 (our own commands)
                command,
                env=os.environ,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 (it only asks the kernel for a signal)
            )
            started.callback(_stop, process)
            processes.append(process)
            if len(processes) == 1:
                _wait_for_port(code_port, process)
        yield processes


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent is killed: else a killed ``up`` would leave its daemon at work."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ProcessEndedError("One of Dagster's processes ended while it started; its message is above")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(POLL_S)
    raise ProcessEndedError(f"Dagster did not answer within {START_TIMEOUT_S} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    # Not SIGINT: a shell's background jobs are started with that one ignored.
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class AlreadyUpError(RuntimeError):
    """The port, or the data folder, is in use by another ``up``."""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _alone(chosen: Settings, host: str, port: int) -> Iterator[None]:
    """One ``up`` a data folder: two daemons would request everything twice."""
    from filelock import FileLock, Timeout

    home = prepare_dagster_home(chosen)
    lock = FileLock(home / "up.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AlreadyUpError(f"{chosen.etl_data} is up already: stop that one first, or set ETL_DATA") from error
    try:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                raise AlreadyUpError(f"Port {port} is in use: choose another with `etl-assets up --port`")
        yield
    finally:
        lock.release()


def serve_all(chosen: Settings, host: str, port: int, out: "Console") -> None:
    """Run everything until interrupted, or until one of the processes ends.

    Raises ``AlreadyUpError`` where the port or the data folder is in use, ``ProcessEndedError`` where one ends.
    """
    refuse_simulated(chosen)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with ExitStack() as stack:
        stack.enter_context(_alone(chosen, host, port))
        if chosen.is_demo:
            url = stack.enter_context(simulated_sources(utc_now))
            out.print(f"Simulated AEMO at {url}: this data folder is the simulator's.", highlight=False)
        out.print("Starting Dagster …")
        try:
            processes = stack.enter_context(running(host, port))
            _wait_for_port(port, processes[-1])
            out.print(f"Dagster: http://{host}:{port}   (Ctrl-C stops everything)", highlight=False)
            while all(process.poll() is None for process in processes):
                time.sleep(1)
            raise ProcessEndedError("One of Dagster's processes ended; its message is above")
        except KeyboardInterrupt:
            out.print("Stopping …")

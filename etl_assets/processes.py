"""``etl-assets up``: Dagster's code server, webserver and daemon, the API, and the simulator where data is simulated.

One code server for both of Dagster's processes: it is what costs memory, and a separate one is not reloaded under a
running tick.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
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
PROBE_S = 5
PR_SET_PDEATHSIG = 1
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (to be asked, not listened on)

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
def running(
    host: str, port: int, api_port: int, *, api_host: str = "127.0.0.1"
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Dagster's three processes and the API, stopped in the reverse order of their start whatever happens inside."""
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
        [sys.executable, "-m", "etl_assets.api.server", "--host", api_host, "--port", str(api_port)],
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
                _wait_for_port("127.0.0.1", code_port, process)
        yield processes


def _end_with_parent() -> None:
    """Ask Linux to end this process when its parent is killed: else a killed ``up`` would leave its daemon at work."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def is_listening(host: str, port: int) -> bool:
    """Whether something listens at an address; on the loopback where it is that of all interfaces."""
    try:
        with socket.create_connection((LOOPBACK_OF.get(host, host), port), timeout=PROBE_S):
            return True
    except OSError:
        return False


def _wait_for_port(host: str, port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ProcessEndedError("One of the processes ended while it started; its message is above")
        if is_listening(host, port):
            return
        time.sleep(POLL_S)
    raise ProcessEndedError(f"Port {port} did not answer within {START_TIMEOUT_S} s")


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
def _alone(chosen: Settings, addresses: Mapping[str, tuple[str, int]]) -> Iterator[None]:
    """One ``up`` a data folder: two daemons would request everything twice. ``addresses`` are by their options."""
    from filelock import FileLock, Timeout

    home = prepare_dagster_home(chosen)
    lock = FileLock(home / "up.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AlreadyUpError(f"{chosen.etl_data} is up already: stop that one first, or set ETL_DATA") from error
    try:
        for option, (host, port) in addresses.items():
            if is_listening(host, port):
                raise AlreadyUpError(f"Port {port} is in use: choose another with `etl-assets up {option}`")
        yield
    finally:
        lock.release()


def _fetch_registry(out: "Console") -> None:
    """Have a registry of KPIs before the definitions are loaded. One at an address that was fetched before may wait."""
    from etl_assets.kpi.registry import refresh, registry_status

    chosen = settings()
    is_fetched = "://" in chosen.kpi_registry and registry_status(chosen).copied_at is not None
    if not chosen.kpi_registry or is_fetched:
        return
    status = refresh(chosen, now=utc_now())
    if not status.is_good:
        out.print(f"KPI registry not taken: {status.error}", style="yellow", markup=False, soft_wrap=True)


def serve_all(chosen: Settings, host: str, port: int, out: "Console", *, api_host: str, api_port: int) -> None:
    """Run everything until interrupted, or until one of the processes ends.

    Raises ``AlreadyUpError`` where the port or the data folder is in use, ``ProcessEndedError`` where one ends.
    """
    refuse_simulated(chosen)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with ExitStack() as stack:
        stack.enter_context(_alone(chosen, {"--port": (host, port), "--api-port": (api_host, api_port)}))
        if chosen.is_demo:
            url = stack.enter_context(simulated_sources(utc_now))
            out.print(f"Simulated AEMO at {url}: this data folder is the simulator's.", highlight=False)
        _fetch_registry(out)
        out.print("Starting Dagster and the API …")
        try:
            processes = stack.enter_context(running(host, port, api_port, api_host=api_host))
            _wait_for_port(host, port, processes[-2])
            out.print(f"Dagster: http://{host}:{port}   (Ctrl-C stops everything)", highlight=False)
            _wait_for_port(api_host, api_port, processes[-1])
            page = "" if chosen.dashboard == "off" else f"   The page: http://{api_host}:{api_port}/"
            out.print(f"API: http://{api_host}:{api_port}{page}", highlight=False)
            while all(process.poll() is None for process in processes):
                time.sleep(1)
            raise ProcessEndedError("One of the processes ended; its message is above")
        except KeyboardInterrupt:
            out.print("Stopping …")

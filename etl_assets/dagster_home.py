"""DAGSTER_HOME: Dagster's own storage in the data folder, with the project's ``dagster.yaml`` in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

PROJECT_ROOT = Path(__file__).parents[1]


def find_dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's storage: what the environment names, else in the data folder. Makes nothing."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home)


def prepare_dagster_home(settings: Settings) -> Path:
    """Make the folder, bring ``dagster.yaml`` up to date in it, and name it to Dagster in the environment.

    A ``DAGSTER_HOME`` that the environment sets already is left as it is.
    """
    if given := os.environ.get("DAGSTER_HOME"):
        return Path(given)
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    configuration = next((p for p in (Path("dagster.yaml"), PROJECT_ROOT / "dagster.yaml") if p.exists()), None)
    if configuration:
        shutil.copyfile(configuration, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def dagster_instance(settings: Settings) -> Iterator["DagsterInstance"]:
    """The instance that keeps runs and events, closed afterwards."""
    import dagster as dg

    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        yield instance

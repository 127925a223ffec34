"""The command line of backups: ``etl-assets backup`` and ``etl-assets restore``."""

from pathlib import Path
from typing import Annotated

import typer

from etl_assets.backup.manifest import Backup, Part, verify_backup
from etl_assets.dagster_home import find_dagster_home
from etl_assets.market_time import utc_now
from etl_assets.settings import settings


def backup(
    to: Annotated[
        Path | None, typer.Argument(help="Folder of backups; by default beside the data folder, as data-backups.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Remove all but so many of the newest afterwards; by default none.")
    ] = None,
    without: Annotated[
        list[Part] | None, typer.Option(help="Leave out what lies in a database or store of its own, once a part.")
    ] = None,
) -> None:
    """A consistent copy of lake, archive, state and Dagster's storage, while everything runs."""
    from etl_assets.backup.take import take_backup

    chosen = settings()
    data = chosen.etl_data.absolute()
    made = take_backup(
        chosen,
        find_dagster_home(chosen),
        to or data.with_name(f"{data.name}-backups"),
        now=utc_now(),
        without=without or (),
        keep=keep,
        progress=_note,
    )
    typer.echo(f"{made.folder}: {_described(made)}")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A backup, such as data-backups/2026-11-25T190000Z.")],
    to: Annotated[
        Path | None, typer.Option(help="Another data folder, all in one: lake, archive and Dagster's storage.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Move aside what is in the place.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the backup and compare its checksums.")] = False,
) -> None:
    """Put a backup in place and publish it; refuses a folder that is in use or not empty."""
    from etl_assets.backup.restore import restore_backup

    if check:
        typer.echo(f"Whole: {_described(verify_backup(source))}")
        return
    chosen = settings()
    home = find_dagster_home(chosen)
    if to is not None:
        chosen = chosen.model_copy(update={"etl_data": to.resolve(), "lake_data": "", "archive_data": ""})
        home = chosen.dagster_home
    done = restore_backup(source, chosen, home, now=utc_now(), force=force, progress=_note)
    for former in done.moved_aside:
        typer.echo(f"Moved aside: {former}")
    if done.runs_ended:
        typer.echo(f"Marked failed, as they were at work when it was taken: {done.runs_ended:,} runs")
    typer.echo(f"{chosen.etl_data.absolute()}: {_described(done.backup)}")


def _described(made: Backup) -> str:
    manifest = made.manifest
    rows = sum(facts.rows for facts in manifest.tables.values())
    lake = f"snapshot {manifest.snapshot}, {rows:,} rows, " if manifest.snapshot is not None else ""
    return (
        f"{lake}{len(manifest.files):,} files, {manifest.bytes / 1e6:,.1f} MB, taken {made.made_at:%Y-%m-%d %H:%M} UTC"
    )


def _note(text: str) -> None:
    typer.echo(f"… {text}", err=True)

"""The files of export jobs: where a result is, how it comes into place, when it goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl_assets.ops.job_records import jobs_with_files
from etl_assets.ops.job_state import ExportJob, jobs_in_hand
from etl_assets.settings import Settings

DRAFT = ".draft"


def results_folder(settings: Settings) -> Path:
    """Where results are."""
    return settings.api_folder / "results"


def result_path(settings: Settings, job: ExportJob) -> Path:
    """Where a job's result is once it is completed, whole."""
    return results_folder(settings) / f"{job.job_id}.{job.result_format}"


@contextmanager
def draft_of(settings: Settings, job: ExportJob) -> Iterator[Path]:
    """A file of this run's own to write into; removed afterwards unless it was put into its place."""
    path = results_folder(settings) / f"{job.job_id}.{job.run_id}{DRAFT}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def tidy_results(settings: Settings) -> int:
    """Remove what no job of the queue can name: expired results, and drafts of runs that were killed."""
    # Listed before the jobs are asked for: a result that comes into place meanwhile has a job.
    there = [path for path in results_folder(settings).glob("job_*") if path.is_file()]
    known, drafts = jobs_with_files(settings), {f"{job.job_id}.{job.run_id}{DRAFT}" for job in jobs_in_hand(settings)}
    gone = [path for path in there if not _is_wanted(path, known, drafts)]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _is_wanted(path: Path, known: set[str], drafts: set[str]) -> bool:
    return path.name in drafts if path.suffix == DRAFT else path.name.partition(".")[0] in known

"""What an evaluation writes as it goes: a row and a trajectory per sample, the moment the sample is finished."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thor_ray.evaluation.samples import EvaluationSample, SampleKey, strategy_name
from thor_ray.evaluation.store import SampleLog
from thor_ray.record_spool import RecordSpool
from thor_ray.records import Record, Stage, read_columns
from thor_ray.run_directory import RunDirectory

ROWS_PER_FILE: Final = 256
"""Trajectories of one Parquet file: few enough to be seen soon by who watches, many enough for few files."""


def group_of(key: SampleKey) -> str:
    """The group of a sample: its problem under its strategy."""
    return f"{key.benchmark}/{strategy_name(key.strategy)}/{key.problem_id}"


def trajectory_of(key: SampleKey) -> str:
    """The id of a sample's trajectory; the same whoever samples it, and when."""
    return f"{group_of(key)}/{key.sample_index}"


class EvaluationRecorder:
    """The one writer of an evaluation's rows and trajectories.

    A sample is done once it has a row. Its trajectory is written first, so that a row's trajectory is never missing;
    a trajectory whose writer was killed before the row is not kept, and its sample is sampled again.
    """

    def __init__(self, rows: SampleLog, spool: RecordSpool, run: RunDirectory) -> None:
        self._rows = rows
        self._spool = spool
        self._run = run
        self.files = len(run.record_files(Stage.EVALUATE))
        """Parquet files that are whole; also the number of the one that is gathered for."""

    @property
    def done(self) -> set[SampleKey]:
        """Samples that need not be sampled."""
        return self._rows.done

    @property
    def attempt(self) -> int:
        """For the rows of this writer."""
        return self._rows.attempt

    def record(self, sample: EvaluationSample, record: Record) -> None:
        """Writes one finished sample.

        Raises:
            DiskFullError: no room.
        """
        self._spool.append(record)
        self._rows.append(sample)
        if len(self._spool) >= ROWS_PER_FILE:
            self.gather()

    def gather(self) -> None:
        """Makes a Parquet file of the trajectories that are in none yet."""
        if len(self._spool):
            self._spool.gather(self._run.records / f"{Stage.EVALUATE}-{self.files:05d}.parquet")
            self.files += 1


@contextmanager
def recording(samples_file: Path, run: RunDirectory) -> Iterator[EvaluationRecorder]:
    """Opens the rows and trajectories of an evaluation, new or not.

    Raises:
        RecordFormatError: something else lies there.
    """
    with SampleLog(samples_file) as rows:
        filed = read_columns(run.record_files(Stage.EVALUATE), ["trajectory_id"]).column(0).to_pylist()
        spool = RecordSpool(run.records / f"{Stage.EVALUATE}.spool", set(map(trajectory_of, rows.done)) - {*filed})
        recorder = EvaluationRecorder(rows, spool, run)
        try:
            yield recorder
        finally:
            # However it ends: what was sampled can be looked at.
            recorder.gather()
            spool.close()

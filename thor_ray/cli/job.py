"""The command of a job on the cluster: a verb of ``thor`` that goes on where its run directory has been begun."""

import sys
from collections.abc import Sequence
from pathlib import Path

from thor_ray.cli.app import main
from thor_ray.run_directory import RunDirectory


def with_resume(arguments: Sequence[str]) -> list[str]:
    """The arguments, with ``--resume`` if the run directory that they name holds a run.

    Args:
        arguments: Of ``thor``, among them ``--run-dir PATH``.
    """
    path = Path(arguments[arguments.index("--run-dir") + 1])
    said = {"--resume", "--overwrite"} & set(arguments)
    begun = RunDirectory(path).progress_file.is_file()
    return [*arguments, "--resume"] if begun and not said else list(arguments)


if __name__ == "__main__":
    main(with_resume(sys.argv[1:]))

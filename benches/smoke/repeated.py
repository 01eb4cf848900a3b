"""Says whether two runs are the same: `python benches/smoke/repeated.py runs/one runs/other`.

Compared is what a seed decides: of every recorded trajectory its tokens, who wrote them, the bits of the engine's and
the learner's log-probs, its reward and its advantage. Times are not. Ends with code 1 at the first difference.
"""

import sys
from pathlib import Path
from typing import Final

import pyarrow as pa

from thor_ray.records import read_columns
from thor_ray.run_directory import RunDirectory

COMPARED: Final = ("ids", "spans", "log_probs", "proximal_log_probs", "reward", "advantage", "group_dropped")


def contents(file: Path) -> dict[str, tuple[object, ...]]:
    """What is compared, by trajectory; NaN equals nothing, so floats are compared by their bits."""
    table = read_columns([file], ["trajectory_id", *COMPARED])
    names = table.column("trajectory_id").to_pylist()
    columns = (map(_bits, table.column(name)) for name in COMPARED)
    return dict(zip(names, zip(*columns, strict=True), strict=True))


def _bits(value: pa.Scalar) -> object:
    held = value.as_py()
    floats = pa.types.is_floating(value.type) or (
        pa.types.is_list(value.type) and pa.types.is_floating(value.type.value_type)
    )
    if held is None or not floats:
        return held
    return tuple(float(each).hex() for each in (held if isinstance(held, list) else [held]))


def main(one: RunDirectory, other: RunDirectory) -> int:
    """Compares file by file, in the order of stages and rounds."""
    total = 0
    for file in one.record_files():
        twin = other.records / file.name
        if not twin.exists():
            print(f"{file.name}: only {one.path} has it")
            return 1
        first, second = contents(file), contents(twin)
        unlike = [name for name in first if first[name] != second.get(name)]
        if unlike or first.keys() != second.keys():
            print(f"{file.name}: {len(unlike)} of {len(first)} trajectories differ, the first of them {unlike[:1]}")
            return 1
        total += len(first)
    print(f"the same {total:,} trajectories, tokens and log-probs bit for bit")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(RunDirectory(Path(sys.argv[1])), RunDirectory(Path(sys.argv[2]))))

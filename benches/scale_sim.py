"""What the driver costs with 8 to 1,024 engines, and what bounded staleness costs, in virtual time.

    python benches/scale_sim.py [--engines 8 64 256 1024] [--json FILE]

Stream, scheduler and coordinator are the real ones of `thor_ray.stream`; engines and learner are simulated, with
log-normal times (sigma 1) cut off at six means, a learner that keeps up, and engines that die. Figures are of the steady
state, after the first updates. `of ideal` is the share of all places' time that went into work that was not thrown away:
places are never empty, and nothing is lost, in the ideal. `driver us/group` is the processor time of all calls of the real code for each group that trained.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from thor_ray.stream import ProblemCursor, StreamConfig, TrajectoryStream, drop_counts
from thor_ray.stream.simulation import Simulation, World

WARM_UP = 8
"""Updates before figures are taken: more than the longest group lasts."""

MEASURED = 8
"""Updates that figures are taken of, at the least."""

MEASURED_GROUPS = 8_192
"""Groups that figures are taken of, at the least: of fewer, the longest few decide."""

PLACES = 8
"""Groups that an engine samples at a time."""


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one run; see the module's docstring."""

    engines: int
    max_staleness: int
    groups: int
    driver_us_per_group: float
    of_ideal: float
    thrown_away: float
    worst_staleness: int
    drops: dict[str, int]
    virtual_seconds: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--engines", type=int, nargs="+", default=[8, 64, 256, 1024])
    arguments.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="of the second table")
    arguments.add_argument("--json", type=Path, help="also write the figures here")
    options = arguments.parse_args()
    print(HEADER)
    scale = [shown(measure(engines, max_staleness=8, dying=True)) for engines in options.engines]
    growth = max(row.driver_us_per_group for row in scale) / min(row.driver_us_per_group for row in scale)
    print(f"driver time per group differs by {growth:.2f} x at the most\n\n{HEADER}")
    staleness = [shown(measure(64, max_staleness=bound, dying=False)) for bound in options.staleness]
    if options.json:
        tables = {"scale": scale, "staleness": staleness}
        figures = {name: [asdict(row) for row in rows] for name, rows in tables.items()}
        options.json.write_text(json.dumps(figures | {"driver_growth": growth}, indent=2))


HEADER = f"{'engines':>7} {'staleness':>9} {'groups':>7} {'driver us/group':>15} {'of ideal':>8} {'wasted':>7} {'worst':>5}  drops"


def shown(row: Row) -> Row:
    """Prints a row as soon as there is one."""
    drops = ", ".join(f"{reason} {count}" for reason, count in row.drops.items()) or "-"
    print(
        f"{row.engines:>7} {row.max_staleness:>9} {row.groups:>7} {row.driver_us_per_group:>15.1f} {row.of_ideal:>8.1%} "
        f"{row.thrown_away:>7.1%} {row.worst_staleness:>5}  {drops}",
        flush=True,
    )
    return row


def measure(engines: int, max_staleness: int, *, dying: bool) -> Row:
    """Simulates up to the last measured update.

    Raises:
        RuntimeError: a group trained that was too old.
    """
    places = engines * PLACES
    # One engine in a hundred dies in the time of a mean group and is away for two of them.
    world = World(engines, PLACES, death_every=60.0 * 100 / engines if dying else None)
    config = StreamConfig(places, max_staleness, updates=10**6)
    stream = TrajectoryStream(config, ProblemCursor(10_000, seed=0))
    simulation = Simulation(stream, world)
    simulation.run(until_version=WARM_UP)
    outcome = simulation.outcome
    began, groups, driver = outcome.seconds, len(outcome.trained), outcome.driver_seconds
    busy, wasted = outcome.busy_seconds, outcome.wasted_seconds
    simulation.run(until_version=WARM_UP + max(MEASURED, MEASURED_GROUPS // places))
    seconds, trained = outcome.seconds - began, len(outcome.trained) - groups
    if max(outcome.staleness) > max_staleness:
        raise RuntimeError(f"a group trained {max(outcome.staleness)} versions after its oldest token")
    busy, wasted = outcome.busy_seconds - busy, outcome.wasted_seconds - wasted
    return Row(
        engines=engines,
        max_staleness=max_staleness,
        groups=trained,
        driver_us_per_group=1e6 * (outcome.driver_seconds - driver) / trained,
        of_ideal=(busy - wasted) / (seconds * places),
        thrown_away=wasted / busy,
        worst_staleness=max(outcome.staleness),
        drops=drop_counts(stream.drops),
        virtual_seconds=seconds,
    )


if __name__ == "__main__":
    main()

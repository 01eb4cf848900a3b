"""What TIRGen's demonstrations do that plain solutions do not: the paper's figure 4, in small.

    python benches/learning/tirgen_effect.py --seeds 0 1 2 --place runs/tirgen-effect

Per seed, with the tiny policy and the recipe `smoke`: the base; a cold start on TIRGen's demonstrations; a cold start on the
same solutions as they were before the refiner saw them; one on the problems' worked solutions as they are. Each has the same
problems, hence the same number of demonstrations, and the same updates. Judged on held-out problems by 16 samples each.
A seed that is finished is not run again, one that was stopped goes on.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from actors.codec import TokenizerCodec
from thor_ray.config import load_recipe
from thor_ray.progress import Progress
from thor_ray.records import Stage
from thor_ray.runlog import RunLog
from thor_ray.stages.pipeline import run_plan
from thor_ray.stages.plain_solutions import solutions_of, write_plain
from thor_ray.stages.plan import SFT, Plan, make_plan
from thor_ray.study.seeds import change, over_seeds

SAMPLES: Final = 16
WITH_TIRGEN: Final = (Stage.EVALUATE_BASE, Stage.TIRGEN, *SFT)
FIGURES: Final = {"code_ratio": "code ratio", "code_pass_rate": "programs that run", "pass_at_1": "pass@1"} | {
    f"pass_at/{SAMPLES}": f"pass@{SAMPLES}"
}
ROWS: Final = ("base", "unrefined", "worked", "tirgen")
NAMES: Final = {
    "base": "base",
    "unrefined": "cold start on the same text, not refined",
    "worked": "cold start on worked solutions",
    "tirgen": "cold start on TIRGen's demonstrations",
}


def measured(seed: int, place: Path, overrides: Sequence[str], progress: Progress) -> dict[str, Mapping[str, Any]]:
    """The figures of one seed, by row."""
    asked = [f"seed={seed}", f"evaluation.samples_per_problem={SAMPLES}", *overrides]
    recipe = load_recipe("smoke", asked)
    plan = make_plan(recipe, WITH_TIRGEN)
    refined = run(plan, place / f"seed-{seed}" / "tirgen", progress)
    found = {"base": refined.result(Stage.EVALUATE_BASE), "tirgen": refined.result(Stage.EVALUATE_COLD_START)}
    solutions = solutions_of(refined, plan.problems.train)
    for row in ("unrefined", "worked"):
        demonstrations = place / f"seed-{seed}" / f"{row}.parquet"
        if not demonstrations.exists():
            texts = [(one.problem, one.text if row == "unrefined" else one.problem.solution or "") for one in solutions]
            write_plain(demonstrations, texts, recipe, TokenizerCodec.from_directory(str(plan.model)))
        given = load_recipe("smoke", [*asked, f"cold_start.demonstrations={json.dumps(str(demonstrations))}"])
        learnt = run(make_plan(given, SFT), place / f"seed-{seed}" / row, progress)
        found[row] = learnt.result(Stage.EVALUATE_COLD_START)
    return found


def run(plan: Plan, path: Path, progress: Progress) -> RunLog:
    """Runs what is not finished of a plan."""
    log = RunLog.resume(path, plan.recipe) if path.exists() else RunLog.create(path, plan.recipe, "sft")
    with log:
        run_plan(plan, log, progress)
    return log


def table(found: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """Means over seeds with Student's 95 % intervals, in per cent; then what TIRGen adds to the same text, paired by seed."""
    lines = [f"| | {' | '.join(FIGURES.values())} |", f"|---|{'---|' * len(FIGURES)}"]
    for row in ROWS:
        cells = [_cell([each[row].get(figure) for each in found]) for figure in FIGURES]
        lines.append(f"| {NAMES[row]} | {' | '.join(cells)} |")
    for against in ("unrefined", "worked"):
        cells = [
            _difference([each[against].get(f) for each in found], [each["tirgen"].get(f) for each in found])
            for f in FIGURES
        ]
        lines.append(f"| TIRGen less {NAMES[against].removeprefix('cold start on ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None]) -> str:
    shares = [100 * value for value in values if value is not None]
    if len(shares) < len(values):
        return "–"
    mean = over_seeds(shares)
    if mean.low is None or mean.high is None:
        return f"{mean.mean:.1f}"
    return f"{mean.mean:.1f} ({max(mean.low, 0):.1f}–{min(mean.high, 100):.1f})"


def _difference(first: Sequence[float | None], second: Sequence[float | None]) -> str:
    pairs = [(100 * a, 100 * b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(pairs) < len(first):
        return "–"
    found = change([a for a, _ in pairs], [b for _, b in pairs]).difference
    if found.low is None or found.high is None:
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--place", type=Path, default=Path("runs/tirgen-effect"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    arguments = parser.parse_args()
    console = Console()
    found = []
    for seed in arguments.seeds:
        with Progress(console) as progress:
            found.append(measured(seed, arguments.place, arguments.overrides, progress))
        (arguments.place / f"seed-{seed}.json").write_text(json.dumps(found[-1], indent=2) + "\n", encoding="utf-8")
    console.print(table(found), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

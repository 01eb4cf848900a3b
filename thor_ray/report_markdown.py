"""``report.md``: the report for pull requests and notes, everything but plots."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from thor_ray.evaluation.markdown import document
from thor_ray.evaluation.sections import Row, Section, Table
from thor_ray.report_sections import curve_sections, report_sections
from thor_ray.texts import claim_text, duration, figure_text

SAMPLES: Final = 4
"""Trajectories that are shown; the page has more."""


def report_markdown(report: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], recipe: str) -> str:
    """The whole document.

    Args:
        report: As ``build_report`` makes it.
        samples: As ``report_page.sample_view`` makes them.
        recipe: Resolved, as YAML.
    """
    sections = [*_verdicts(report), *report_sections(report), *curve_sections(report), _run(report)]
    head = (
        f"thor {report['command']}, {report['status']}, seed {report['seed']}, {duration(report['seconds']['total'])}"
    )
    text = document(report["run"], [head], sections)
    blocks = ["## Sample trajectories", *map(_sample, samples[:SAMPLES])] if samples else []
    return "\n\n".join([text.rstrip("\n"), *blocks, "## Recipe", fenced(recipe.rstrip("\n"), "yaml")]) + "\n"


def _verdicts(report: Mapping[str, Any]) -> Iterator[Section]:
    claims = [Row(("holds" if claim["holds"] else "fails", claim_text(claim))) for claim in report["claims"]]
    if claims:
        yield Section("Claims", (Table(("", "claim"), tuple(claims)),))
    alarms = [Row(("stands" if alarm["standing"] else "was", alarm["sentence"])) for alarm in report["alarms"]]
    if alarms:
        yield Section("What deserves a look", (Table(("", "alarm"), tuple(alarms)),))


def _run(report: Mapping[str, Any]) -> Section:
    weights, trajectories = report["weights"], report["trajectories"]
    dropped = ", ".join(f"{reason} {count}" for reason, count in trajectories["dropped"].items())
    rows = {
        "commit": str(report["commit"] or "unknown"),
        "weights": f"{weights['published']} published, {weights['verified']} verified, "
        f"largest log-prob gap {figure_text(weights['max_logprob_gap'])}",
        "RL trajectories": f"{trajectories['episode']} episodes, {trajectories['step']} step continuations",
        "not trained on": dropped or "none",
        **{name.replace("_", " "): duration(seconds) for name, seconds in report["seconds"].items()},
        **{name.replace("_", " "): str(value) for name, value in report["machine"].items()},
        "versions": ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    }
    return Section("The run", (Table(("", "value"), tuple(map(Row, rows.items()))),))


def _sample(sample: Mapping[str, Any]) -> str:
    said = f"**{sample['id'].replace('_', chr(92) + '_')}** ({sample['stage']}): {sample['grade'] or 'not graded'}, {sample['finish']}"
    lines = [f"[{block['kind']}] {block['text']}" for block in sample["blocks"]]
    return f"{said}\n\n{fenced(chr(10).join(lines), 'text')}"


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"

"""Cuts a solution into the steps that a refiner sees one by one."""

import re
from typing import Final

from thor_ray.refine.formulas import has_latex

_OPENS: Final = re.compile(r"\\begin\s*\{([^{}\n]{1,40})\}|\\\[|\[asy\]|\$\$")
_OPENS_IN_LATEX: Final = re.compile(_OPENS.pattern + r"|(?<!\\)\$")


def split_steps(solution: str) -> list[str]:
    """The steps of a solution: its lines, but a formula, an environment or a picture stays with its line.

    Blank lines are left out. Joined by newlines, the steps are the solution's non-blank lines in order. What is opened
    and never closed reaches to the end of its line.
    """
    lines = [line.strip() for line in solution.splitlines() if line.strip()]
    steps: list[str] = []
    opens = _OPENS_IN_LATEX if has_latex(solution) else _OPENS
    start = 0
    while start < len(lines):
        end = _end_of_step(lines, start, opens)
        steps.append("\n".join(lines[start:end]))
        start = end
    return steps


def _end_of_step(lines: list[str], start: int, opens: re.Pattern[str]) -> int:
    """One past the last line of the step that begins at ``start``."""
    end, position, line = start, 0, lines[start]
    while (opening := opens.search(line, position)) is not None:
        closing = _closing(opening)
        found = _find(lines, end, opening.end(), closing)
        if found is None:
            position = opening.end()
        else:
            end, position = found
            line = lines[end]
    return end + 1


def _closing(opening: re.Match[str]) -> str:
    match opening.group():
        case "\\[":
            return "\\]"
        case "[asy]":
            return "[/asy]"
        case "$$" | "$" as dollars:
            return dollars
        case _:
            return f"\\end{{{opening.group(1)}}}"


def _find(lines: list[str], line: int, position: int, wanted: str) -> tuple[int, int] | None:
    """Line and position behind the first ``wanted`` at or after a position."""
    for index in range(line, len(lines)):
        found = lines[index].find(wanted, position if index == line else 0)
        if found >= 0:
            return index, found + len(wanted)
    return None

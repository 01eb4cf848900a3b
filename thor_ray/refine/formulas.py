"""Cutting text inside a formula, so that a program can stand between both halves."""

import re
from typing import Final

_BORDERS: Final = re.compile(
    r"\\begin\s*\{([^{}\n]{1,40})\}|\\end\s*\{([^{}\n]{1,40})\}|(?<!\\)\\([\[\]()])|(?<!\\)(\${1,2})"
)
_CLOSING: Final = {"\\[": "\\]", "\\(": "\\)", "$": "$", "$$": "$$"}
_LATEX: Final = re.compile(r"\\(?!boxed\b)[A-Za-z]|[\^_]")


def has_latex(text: str) -> bool:
    """Whether a text holds LaTeX, in which dollar signs delimit formulas; elsewhere they are prices."""
    return _LATEX.search(text) is not None


def split_formula(before: str, after: str) -> tuple[str, str]:
    """Both halves of a text, with the formulas and environments that the cut opens closed in one and opened in the other.

    A dollar sign delimits a formula only in text that holds LaTeX; elsewhere it is a price. Halves between which no formula
    is open are returned as they are.
    """
    dollars = has_latex(before + after)
    closing: list[str] = []
    opening: list[str] = []
    for opened in _open_at_end(before, dollars):
        opening.append(opened)
        closing.insert(0, _CLOSING.get(opened) or opened.replace("\\begin", "\\end", 1))
    if not opening or not after.strip():
        # Nothing follows that would need what is open.
        return before + "".join(closing), after if after.strip() else ""
    # A stop inside the formula stays there, where nothing else is left in it.
    ending = re.match(rf"\s*([.,;:]?)\s*{re.escape(''.join(closing))}", after)
    if ending is not None:
        return before + ending.group(1) + "".join(closing), after[ending.end() :]
    return before + "".join(closing), "".join(opening) + after


def _open_at_end(text: str, dollars: bool) -> list[str]:
    """Openings without their closings, outermost first."""
    opened: list[str] = []
    for match in _BORDERS.finditer(text):
        begins, ends, bracket, dollar = match.groups()
        if begins is not None:
            opened.append(f"\\begin{{{begins}}}")
        elif ends is not None:
            _close(opened, f"\\begin{{{ends}}}")
        elif bracket in ("[", "("):
            opened.append(f"\\{bracket}")
        elif bracket is not None:
            _close(opened, "\\[" if bracket == "]" else "\\(")
        elif dollars and not (dollar in opened and _close(opened, dollar)):
            opened.append(dollar)
    return opened


def _close(opened: list[str], opening: str) -> bool:
    """Takes the last ``opening`` away; whether there was one."""
    if opening not in opened:
        return False
    del opened[len(opened) - 1 - opened[::-1].index(opening)]
    return True

r"""One spelling for LaTeX that means the same: the light, lossless clean-up before any comparison.

Only typography goes (sizes of brackets, spacing, fonts, synonyms of commands). Nothing that can change a
value is removed: no units, no signs, no separators between list items. Both sides get the same treatment.
"""

import re
from collections.abc import Callable
from functools import lru_cache

_CHARACTERS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "\\cdot ", "·": "\\cdot ", "⋅": "\\cdot ", "∗": "\\cdot ",
        "÷": "\\div ", "π": "\\pi ", "∞": "\\infty ", "≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ", "≠": "\\ne ",
        "≈": "\\approx ", "±": "\\pm ", "∓": "\\mp ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ",
        "°": "^\\circ ", "′": "'", "’": "'", "…": "\\ldots ", "⁄": "/", "∕": "/", "％": "%", "，": ",", "（": "(", "）": ")",
        "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "λ": "\\lambda ", "ω": "\\omega ", "φ": "\\phi ", "γ": "\\gamma ",
        "²": "^2", "³": "^3", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\n": " ", "\t": " ",
    }
)  # fmt: skip

_FONTS = (
    "mbox|hbox|textbf|textit|textrm|textsf|textnormal|mathrm|mathbf|mathit|mathsf|mathnormal|boldsymbol|bm|operatorname"
)


def _unwrap_font(match: re.Match[str]) -> str:
    r"""Keeps ``5\text{m}`` (a unit) apart from ``\text{A}`` (a choice) and ``2\mathrm{i}`` (a constant)."""
    content = match.group(1)
    before = match.string[: match.start()].rstrip()[-1:]
    is_unit = content.isalpha() and content not in ("i", "e") and (before.isdigit() or before in ("}", ")"))
    return match.group() if before and is_unit else content


def _write_primes(match: re.Match[str]) -> str:
    return "'" * max(1, match.group().count("prime"))


_Replacement = str | Callable[[re.Match[str]], str]
_COMMAND_END = r"(?![a-zA-Z])"

_REPLACEMENTS: tuple[tuple[re.Pattern[str], _Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Typographic thousands separators are unmistakable, so they go before commas can mean lists.
        (r"(?<=\d)(?:\{,\}|,\\!)\s*(?=\d{3}(?!\d))", ""),
        (r"\\[mM]?(?:left|right)\.", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits)" + _COMMAND_END, ""),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"(?<!\\)\\\$", r"\\dollar "),
        (r"(?<!\\)\$", ""),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\(?:quad|qquad|thinspace|enspace)" + _COMMAND_END, " "),
        (r"\\[hv]space\*?\{[^{}]*\}", " "),
        (r"(?<![\d.,])(\d{1,3}(?: \d{3})+)(?![\d/])", lambda match: match.group(1).replace(" ", "")),
        (r"\\[dtc]frac" + _COMMAND_END, r"\\frac"),
        (r"\\[dt]binom" + _COMMAND_END, r"\\binom"),
        (r"\\(?:leq|leqslant)" + _COMMAND_END + "|<=", r"\\le "),
        (r"\\(?:geq|geqslant)" + _COMMAND_END + "|>=", r"\\ge "),
        (r"\\lt" + _COMMAND_END, "<"),
        (r"\\gt" + _COMMAND_END, ">"),
        (r"\\neq" + _COMMAND_END, r"\\ne "),
        (r"\\lbrace" + _COMMAND_END, r"\\{"),
        (r"\\rbrace" + _COMMAND_END, r"\\}"),
        (r"\\(?:varnothing)" + _COMMAND_END, r"\\emptyset "),
        (r"\*\*", "^"),
        (r"\\(?:times|ast)" + _COMMAND_END + r"|\*", r"\\cdot "),
        (r"\\%", "%"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ" + _COMMAND_END + r"|\\degrees?" + _COMMAND_END, r"^\\circ "),
        (r"\^\s*(?:\\prime" + _COMMAND_END + r"|\{\s*((?:\\prime\s*)+)\})", _write_primes),
        (r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])(?:infinity|infty|inf)" + _COMMAND_END, r"\\infty "),
        (r"(?<![\\a-zA-Z])pi" + _COMMAND_END, r"\\pi "),
        (rf"\\(?:{_FONTS})\s*(?=\{{)", r"\\text"),
        (r"\\text\s+(?=\{)", r"\\text"),
        # A number, a letter or a choice in a font is that number, letter or choice.
        (r"\\text\{\s*(-?\d+(?:\.\d+)?|\(?[a-zA-Z]\)?)\s*\.?\s*\}", _unwrap_font),
        (r"\^\s*\{\s*(\w)\s*\}", r"^\1"),
        (r"_\s*\{\s*(\w)\s*\}", r"_\1"),
        (r"\^\s*(\d{2,})", r"^{\1}"),
    )
)

_ARGUMENT_TAKERS = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])")
_ARGUMENT = re.compile(r"\\[a-zA-Z]+|\\.|[^\s\\{}]")
_NOT_AN_ARGUMENT = ("[", "\\frac", "\\sqrt", "\\binom")
_SPACE_RUN = re.compile(r"\s*")
_FINAL_STOP = re.compile(r"(?<!\.)\.$")
_SPACES = re.compile(r"\s+")
_IDLE_SPACE = re.compile(r"(?<!\d) | (?!\d)")


@lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    """Returns the text with one spelling per meaning; spaces are collapsed but kept (commands end at them).

    Args:
        text: The content of a box or a gold answer, at most ``gates.MAX_CHARACTERS`` long.
    """
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    if "\\frac" in text or "\\sqrt" in text or "\\binom" in text:
        text = _brace_arguments(text)
    return _FINAL_STOP.sub("", _SPACES.sub(" ", text).strip()).strip()


def fingerprint(text: str) -> str:
    """Normalised text without spaces, save those between two digits (``1 2`` is not ``12``)."""
    return _IDLE_SPACE.sub("", text)


def _brace_arguments(text: str) -> str:
    r"""Writes TeX's single-token arguments as groups: ``\frac12`` and ``\frac 1{2}`` become ``\frac{1}{2}``."""
    pieces: list[str] = []
    position = 0
    while taker := _ARGUMENT_TAKERS.search(text, position):
        pieces.append(text[position : taker.end()])
        position = taker.end()
        for _ in range(1 if taker.group(1) == "sqrt" else 2):
            position = _SPACE_RUN.match(text, position).end()  # type: ignore[union-attr]
            argument = _ARGUMENT.match(text, position)
            if text.startswith("{", position):
                end = group_end(text, position)
                if end == len(text):
                    break  # unbalanced, and to be seen as such
                pieces.append("{" + _brace_arguments(text[position + 1 : end]) + "}")
                position = end + 1
            elif argument and argument.group() not in _NOT_AN_ARGUMENT:
                pieces.append("{" + argument.group() + "}")
                position = argument.end()
            else:
                break  # the index of a root, or malformed: left as it is
    pieces.append(text[position:])
    return "".join(pieces)


def group_end(text: str, start: int) -> int:
    r"""Index of the bracket that closes the group opened at ``start``; the text's length if none does.

    Round, square and curly brackets count without regard to kind (half-open intervals mix them); ``\{`` and ``\}``
    count as well.
    """
    depth = 0
    for position in range(start, len(text)):
        if text[position] in "([{":
            depth += 1
        elif text[position] in ")]}":
            depth -= 1
            if depth == 0:
                return position
    return len(text)

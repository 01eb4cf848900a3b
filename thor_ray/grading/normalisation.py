r"""One spelling for LaTeX that means the same: the light, lossless clean-up before any comparison.

Only typography goes (sizes of brackets, spacing, fonts, synonyms of commands). Nothing that can change a
value is removed: no units, no signs, no separators between list items. Both sides get the same treatment.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_CHARACTERS = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": "\\cdot ", "·": "\\cdot ", "⋅": "\\cdot ", "∗": "\\cdot ",
        "÷": "\\div ", "π": "\\pi ", "∞": "\\infty ", "≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ", "≠": "\\ne ",
        "≈": "\\approx ", "±": "\\pm ", "∓": "\\mp ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\emptyset ",
        "°": "^\\circ ", "º": "^\\circ ", "′": "'", "’": "'", "…": "\\ldots ", "⁄": "/", "∕": "/", "％": "%", "，": ",",
        "（": "(", "）": ")", "√": "\\sqrt ", "∛": "\\sqrt[3]", "∨": "\\lor ", "∧": "\\land ", "∖": "\\setminus ",
        "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "λ": "\\lambda ", "ω": "\\omega ", "φ": "\\phi ", "γ": "\\gamma ",
        "δ": "\\delta ", "μ": "\\mu ", "σ": "\\sigma ", "τ": "\\tau ", "ρ": "\\rho ", "ε": "\\epsilon ", "Δ": "\\Delta ",
        "Ω": "\\Omega ", "Γ": "\\Gamma ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℚ": "\\mathbb{Q}", "ℕ": "\\mathbb{N}",
        "ℂ": "\\mathbb{C}", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}",
        "¢": "\\text{ cents}", "“": "", "”": "", '"': "", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\n": " ", "\t": " ",
    }
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")

_FONTS = (
    "mbox|hbox|textbf|textit|textrm|textsf|texttt|textsc|emph|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|mathnormal"
    "|boldsymbol|bm|operatorname\\*?|pmb"
)
_COMMAND_END = r"(?![a-zA-Z])"
_FUNCTIONS = (
    "arcsinh|arccosh|arctanh|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|sqrt|ln|log|exp|gcd|lcm|pi"
    "|infinity|infty|inf"
)
_PREFIX = r"(?i:(?:(?:so|thus|therefore|the|final|correct),?\s+)*(?:answer|ans|solution|result)s?(?:\s+(?:is|are))?)"
_DOTS = r"\s*(?:\\[lc]?dots" + _COMMAND_END + r"|\.\.\.)"


_UNIT_BEFORE = re.compile(r"(?:[\d})]|\d\s*(?:\\text\{[^{}]*\}(?:\^\{?-?\d\}?)?\s*(?:\\cdot\s*|/\s*)?)+)\s*$")


def _unwrap_font(match: re.Match[str]) -> str:
    r"""Keeps ``5\text{m}`` (a unit) apart from ``\text{A}`` (a choice) and ``2\mathrm{i}`` (a constant)."""
    content = match.group(1)
    is_unit = content.isalpha() and content not in ("i", "e") and _UNIT_BEFORE.search(match.string[: match.start()])
    return match.group() if is_unit else content


def _write_primes(match: re.Match[str]) -> str:
    return "'" * max(1, match.group().count("prime"))


def _write_function(match: re.Match[str]) -> str:
    """Gives a bare function its backslash; text in a font is left alone."""
    name = match.group(2)
    return match.group() if name is None else "\\infty " if name.startswith("inf") else f"\\{name} "


def _without_spaces(match: re.Match[str]) -> str:
    return match.group(1).replace(" ", "")


_Replacement = str | Callable[[re.Match[str]], str]

_REPLACEMENTS: tuple[tuple[re.Pattern[str], _Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Typographic thousands separators are unmistakable, so they go before commas can mean lists.
        (r"(?<=\d)(?:\{,\}|,\s*\\!)\s*(?=\d{3}(?!\d))", ""),
        # Sizes, fonts of symbols, colours, frames, spaces and delimiters of mathematics.
        (r"\\[mM]?(?:left|right)\.", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits)" + _COMMAND_END, ""),
        (r"\\(?:text)?color(?:box)?\s*\{[^{}]*\}|\\(?:boxed|fbox|underline|smash|ensuremath)" + _COMMAND_END, ""),
        (r"\\(?:[hv]?phantom|label|tag\*?|[hv]space\*?)\{[^{}]*\}", " "),
        (r"(?<!\\)\\[()\[\]]", ""),
        (r"(?<!\\)\\\$", r"\\dollar "),
        (r"(?<!\\)\$", ""),
        (r"(?<!\\)\\[!/]", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad|\\(?:thinspace|enspace)" + _COMMAND_END, " "),
        (r"\s+", " "),
        (r"(?<![\d.,])(\d{1,3}(?: \d{3})+)(?![\d/])", _without_spaces),
        (r"^\s*(?:\*\*|`)(.*?)(?:\*\*|`)\s*$", r"\1"),
        # Synonyms.
        (r"\\[dtc]frac" + _COMMAND_END, r"\\frac"),
        (r"\\[dt]binom" + _COMMAND_END, r"\\binom"),
        (r"\\(?:leq|leqslant|leqq)" + _COMMAND_END + "|<=", r"\\le "),
        (r"\\(?:geq|geqslant|geqq)" + _COMMAND_END + "|>=", r"\\ge "),
        (r"\\lt" + _COMMAND_END, "<"),
        (r"\\gt" + _COMMAND_END, ">"),
        (r"\\neq" + _COMMAND_END + r"|\\not\s*=|(?<![\d)}!])\s*!=", r"\\ne "),
        (r"==", "="),
        (r"\\(?:mid|vert|lvert|rvert)" + _COMMAND_END, "|"),
        (r"\\(?:langle|lparen)" + _COMMAND_END, "("),
        (r"\\(?:rangle|rparen)" + _COMMAND_END, ")"),
        (r"\\lbrack" + _COMMAND_END, "["),
        (r"\\rbrack" + _COMMAND_END, "]"),
        (r"\\lbrace" + _COMMAND_END, r"\\{"),
        (r"\\rbrace" + _COMMAND_END, r"\\}"),
        (r"\\set\s*\{([^{}]*)\}", r"\\{\1\\}"),
        (r"\\(?:varnothing|O)" + _COMMAND_END + r"|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(?:colon|ratio)" + _COMMAND_END, ":"),
        (r"\\(?:lor|vee)" + _COMMAND_END, r"\\text{ or }"),
        (r"\\(?:land|wedge)" + _COMMAND_END + r"|\\&", r"\\text{ and }"),
        (r"\\(?:R|reals)" + _COMMAND_END + r"|\\mathbb\s*R" + _COMMAND_END, r"\\mathbb{R}"),
        (r"\*\*", "^"),
        (r"\\(?:times|ast)" + _COMMAND_END + r"|\*", r"\\cdot "),
        (r"\\%", "%"),
        # Degrees, primes, functions.
        (r"(?:(?<!\\)\{\s*\}\s*)?\^\s*(?:\{\s*\\circ\s*\}|\\circ" + _COMMAND_END + ")", r"^\\circ "),
        (r"\\(?:degrees?|textdegree)" + _COMMAND_END, r"^\\circ "),
        (r"\^\s*(?:\\prime" + _COMMAND_END + r"|\{\s*((?:\\prime\s*)+)\})", _write_primes),
        (rf"(\\text\s*\{{[^{{}}]*\}})|(?<![\\a-zA-Z])({_FUNCTIONS})" + _COMMAND_END, _write_function),
        # Fonts: a number, a letter or a choice in one is that number, letter or choice.
        (rf"\\(?:{_FONTS})\s*(?=\{{)", r"\\text"),
        (r"\\text\s+(?=\{)", r"\\text"),
        (r"(\\text\{[^{}]*\^)\{\s*(-?\d)\s*\}", r"\1\2"),
        (r"\\text\{\s*(\\dollar|[.,;:])\s*\}", r"\1 "),
        (r"\\text\{\s*(-?\d+(?:\.\d+)?|\(?[a-zA-Z]\)?)\s*\.?\s*\}", _unwrap_font),
        (r"^\s*\\text\{([^{}]*\d[^{}]*)\}\s*$", r"\1"),
        (r"(?<=\d)\s*\\text\{\s*to\s*\}\s*(?=\d)", ":"),
        (r"(?i:(?<![a-z\\])([ap])\.\s?m(?![a-z])\.?)", r"\1m"),
        # Words that stand for a symbol, and words before an answer.
        (r"^\s*\\text\{\s*(?:positive )?infinity\s*\}\s*$", r"\\infty "),
        (
            r"^\s*(?:\\text\{)?\s*(?i:(?:x is )?(?:all|any|every) (?:the )?real(?:s| numbers?| values?)(?: (?:of )?[a-z])?)\s*\}?\.?$",
            r"\\mathbb{R}",
        ),
        (
            r"^\s*(?:\\text\{)?\s*(?i:(?:there (?:is|are) )?no (?:real )?solutions?(?: exists?)?)\s*\}?\.?$",
            r"\\emptyset ",
        ),
        (r"^\s*([A-J])\)$", r"(\1)"),
        (rf"^\s*\\text\{{{_PREFIX}\s*[:=]?\s*\}}\s*[:=]?\s*(?=\S)", ""),
        (r"^\s*(?i:(?:the |final |correct )*answer is)\s+(?=\S)", ""),
        (rf"^\s*{_PREFIX}\s*[:=]\s*(?=\S)|^\s*[:=]\s*(?=\S)", ""),
        (
            r"\(\s*\\(?:b?mod" + _COMMAND_END + r"|text\{\s*mod\s*\})\s*(\w+|\{[^{}]*\})\s*\)|\\pmod\s*(\w)",
            r"\\pmod{\1\2}",
        ),
        # Indices and exponents.
        (r"\^\s*\{\s*(\w)\s*\}", r"^\1"),
        (r"_\s*\{\s*(\w)\s*\}", r"_\1"),
        (r"\^\s*(\d{2,})", r"^{\1}"),
        (r"(?<=[\d})])\s*\^\s*o(?![a-zA-Z(])", r"^\\circ "),
        # Recurring decimals.
        (r"(?<=\.)(\d*)\\(?:bar|dot|overline)\s*(?:\{\s*(\d+)\s*\}|(\d))", r"\1\\overline{\2\3}"),
        (r"(\d{0,20}\.\d{0,30}?)(\d)\2{2,30}" + _DOTS, r"\1\\overline{\2}"),
        (r"(\d{0,20}\.\d{0,30}?)(\d{2,6})\2{1,10}" + _DOTS, r"\1\\overline{\2}"),
        # French brackets.
        (r"^\s*\](.*[,;].*)([\[\]])\s*$", lambda match: f"({match.group(1)}{')' if match.group(2) == '[' else ']'}"),
        (r"^\s*\[([^\[\]]*[,;][^\[\]]*)\[\s*$", r"[\1)"),
    )
)

_ARGUMENT_TAKERS = re.compile(r"\\(frac|binom|sqrt)(?![a-zA-Z])")
_ARGUMENT = re.compile(r"\\[a-zA-Z]+|\\.|[^\s\\{}]")
_NOT_AN_ARGUMENT = ("[", "\\frac", "\\sqrt", "\\binom")
_SPACE_RUN = re.compile(r"\s*")
_WRAPPER = re.compile(
    r"^\s*(?:\\(?:boxed|fbox|underline|smash|ensuremath|(?:text)?color(?:box)?\s*\{[^{}]*\})\s*)+(?=\{)"
)
_DOUBLE_ESCAPE = re.compile(r"\\\\(?=[a-zA-Z{}$%,;!()\[\]])")
_LINE_BREAK = re.compile(r"\\\\(?:\[[^\]]*\])?")
_LINES = re.compile(r"\\begin\{(cases|aligned|align\*?|gathered)\}(.*?)\\end\{\1\}", re.DOTALL)
_SPACES = re.compile(r"\s+")
_IDLE_SPACE = re.compile(r"(?<!\d) | (?!\d)")


@lru_cache(maxsize=8192)
def normalise(text: str) -> str:
    """Returns the text with one spelling per meaning; spaces are collapsed but kept (commands end at them).

    Args:
        text: The content of a box or a gold answer, at most ``gates.MAX_CHARACTERS`` long.
    """
    text = _unwrapped(_without_final_punctuation(plain_characters(text)))
    if "\\\\" in text:
        text = _one_line(text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    if "\\over" in text or "\\choose" in text or "\\atop" in text:
        text = _write_infix(text)
    if "\\frac" in text or "\\sqrt" in text or "\\binom" in text:
        text = _brace_arguments(text)
    return _without_final_punctuation(_SPACES.sub(" ", text).strip())


def _unwrapped(text: str) -> str:
    """What a frame or a colour around the whole text holds."""
    while (wrapper := _WRAPPER.match(text)) and group_end(text, wrapper.end()) == len(text) - 1:
        text = _without_final_punctuation(text[wrapper.end() + 1 : -1])
    return text


def _without_final_punctuation(text: str) -> str:
    """Cuts stops, commas and backslashes off the end; three stops are an ellipsis and stay."""
    while (shorter := text.rstrip(" \t\n,;:\\")) and shorter.endswith(".") and not shorter.endswith("..."):
        text = shorter[:-1]
    return shorter


@lru_cache(maxsize=8192)
def plain_characters(text: str) -> str:
    """LaTeX for mathematical characters, then the plain form of letters and digits in fonts and full width.

    The result may be many times longer than the text.
    """
    if text.isascii():
        return text.replace('"', "").replace("\n", " ").replace("\t", " ")
    text = _SUPERSCRIPT_RUN.sub(lambda match: f"^{{{match.group().translate(_SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT_RUN.sub(lambda match: f"_{{{match.group().translate(_SUBSCRIPTS)}}}", text)
    return unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).translate(_CHARACTERS)


def _one_line(text: str) -> str:
    r"""Commands whose backslash was doubled on the way, and lines below each other that make a list."""
    text = _LINES.sub(lambda match: match.group() if "&" in match.group(2).replace("&=", "") else match.group(2), text)
    if "\\begin" in text:
        return text
    return _LINE_BREAK.sub(", ", _DOUBLE_ESCAPE.sub(r"\\", text))


def _write_infix(text: str) -> str:
    r"""``{a \over b}`` is ``\frac{a}{b}``, ``{n \choose k}`` is ``\binom{n}{k}``."""
    for command, replacement in (("over", "frac"), ("choose", "binom")):
        inner = re.compile(rf"\{{([^{{}}]*)\\{command}{_COMMAND_END}([^{{}}]*)\}}")
        while inner.search(text):
            text = inner.sub(lambda match, name=replacement: f"\\{name}{{{match.group(1)}}}{{{match.group(2)}}}", text)  # type: ignore[misc]
        parts = re.split(rf"\\{command}{_COMMAND_END}", text)
        if len(parts) == 2:
            text = f"\\{replacement}{{{parts[0].strip()}}}{{{parts[1].strip()}}}"
    return text


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
            elif taker.group(1) == "sqrt" and text.startswith("(", position):
                end = min(group_end(text, position), len(text) - 1)
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

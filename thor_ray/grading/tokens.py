r"""The words of the language of expressions: numbers, letters, commands, and which commands mean what."""

import re

from thor_ray.grading.normalisation import group_end
from thor_ray.grading.numerals import NUMBER, RECURRING


class ExpressionError(ValueError):
    """The text is no expression of this grammar."""


FUNCTION_NAMES = frozenset(
    """sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch arcsinh arccosh
    arctanh ln log lg exp gcd lcm min max Gamma zeta erf sgn Re Im arg""".split()
)
SYNONYMS = {"tg": "tan", "ctg": "cot", "arctg": "arctan", "sh": "sinh", "ch": "cosh", "th": "tanh", "sign": "sgn"}
INVERSES = {name: f"arc{name}" for name in "sin cos tan cot sec csc sinh cosh tanh".split()}
# Letters that name functions whatever is in the brackets; others multiply unless the argument is a single symbol.
FUNCTION_LETTERS = frozenset("f g h F G H \\phi \\psi \\Phi \\Psi \\varphi".split())
GREEK = frozenset(
    """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar partial nabla
    aleph Re Im odot imath jmath top dim ker""".split()
)
ACCENTS = frozenset(
    """overline bar hat widehat vec overrightarrow dot ddot dddot tilde widetilde mathbb mathcal mathfrak mathscr angle
    triangle measuredangle""".split()
)
_TOKEN = re.compile(
    rf"""
    (?P<recurring>{RECURRING})
  | (?P<number>{NUMBER})
  | (?P<command>\\[a-zA-Z]+)
  | (?P<letter>[a-zA-Z])
  | (?P<symbol>[-+/^_!()\[\]{{}}|',%&])
  | (?P<newline>\\\\)
  | (?P<space>\s+)
    """,
    re.VERBOSE,
)
_BARE_ARGUMENT = re.compile(r"\\[a-zA-Z]+|[A-Z]{1,3}|[^{}]|$")


def tokens_of(text: str) -> list[str]:
    r"""All tokens of an expression, spaces left out; ``\text`` and accents come with their arguments.

    Raises:
        ExpressionError: A character belongs to no token.
    """
    tokens = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unreadable at {text[position : position + 10]!r}")
        if match.group() == "\\text" or match.group()[1:] in ACCENTS:
            end = _argument_end(text, match.end())
            tokens.append(match.group() + text[match.end() : end])
            position = end
            continue
        if match.lastgroup != "space":
            tokens.append(match.group())
        position = match.end()
    return tokens


def _argument_end(text: str, start: int) -> int:
    r"""Where the argument of ``\text`` or of an accent ends: a group, a command or one character."""
    while start < len(text) and text[start] == " ":
        start += 1
    if text[start : start + 1] == "{":
        return group_end(text, start) + 1
    command = _BARE_ARGUMENT.match(text, start)
    return command.end() if command else start

r"""Left sides that only name the result: the ``x`` of ``x = 5``, the ``m+n`` of ``m+n = 113``.

A name may be left out or added without changing an answer. What computes with the result, such as ``2x`` or ``x^2``,
is no name: ``2x = 10`` is not the answer 10.
"""

import re

from thor_ray.grading.normalisation import fingerprint

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon"
    "|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Sigma|Upsilon|Phi|Psi|Omega|ell"
)
SYMBOL = rf"(?:[a-zA-Z]|\\(?:{_GREEK})(?![a-zA-Z])|\\(?:vec|overline|bar|hat)(?:\{{[^{{}}]*\}}|[a-zA-Z]))(?:_(?:\w|\{{(?:[^{{}}]|\{{[^{{}}]*\}})*\}}))?'*"
"""Pattern of a variable with its index and primes; its text holds no spaces."""
_ATOM = rf"(?:-?\d+(?:\.\d+)?|-?{SYMBOL})"
_APPLIED = rf"(?:[fghFGH](?:_\w)?'*(?:\^\{{-1\}})?\([^()=]*\)|\\?(?:P|Pr|E)\([^()]*\)|{SYMBOL}\({_ATOM}(?:,{_ATOM})*\))"
_POINTS = r"(?:[A-Z](?:_\w|_\{\w+\})?'*){1,4}"
_FIGURE = rf"(?:m?\\(?:angle|triangle|measuredangle)?{_POINTS}|\[\\?(?:triangle)?{_POINTS}\]|\|{_POINTS}\|)"
_WORDS = rf"\\text\{{[^{{}}]*\}}(?:\(?{_POINTS}\)?)?"
_QUANTITY = rf"(?:{_APPLIED}|{SYMBOL}|{_POINTS}|{_FIGURE}|{_WORDS}|\\(?:sin|cos|tan|cot)(?:\\angle)?\(?{_POINTS}\)?)"
_NAME = re.compile(
    rf"^(?:{_QUANTITY}|{_QUANTITY}[:/]{_QUANTITY}|\\frac\{{{_QUANTITY}\}}\{{{_QUANTITY}\}}"
    rf"|\(?{SYMBOL}(?:,{SYMBOL})+\)?|{SYMBOL}(?:[+-]{SYMBOL})+|\|{SYMBOL}\|)$"
)
_VARIABLE = re.compile(rf"^(?:{SYMBOL}|{_APPLIED})$")
_CONSTANTS = frozenset(("e", "i", "\\pi"))


def name_of(text: str) -> str | None:
    """The canonical name if the text is nothing but one, else ``None``."""
    name = _squeezed(text)
    return name if _NAME.match(name) and name not in _CONSTANTS else None


def variable_of(text: str) -> str | None:
    """The canonical name if the text is a variable or a function's value, else ``None``."""
    name = _squeezed(text)
    return name if _VARIABLE.match(name) and name not in _CONSTANTS else None


def is_function(name: str) -> bool:
    """Whether a name is that of a function's value at a variable: ``f(x)`` is, ``f(2)`` is not."""
    return bool(re.match(r"^[a-zA-Z]\([a-z]\)$", name))


def _squeezed(text: str) -> str:
    return fingerprint(text).replace(" ", "")

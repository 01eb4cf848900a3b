"""Numeric expressions as trees, and their exact form in Python."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

BinaryOperator = Literal["+", "-", "*", "/", "^", "mod"]
UnaryOperator = Literal["-", "!", "%"]
Function = Literal["gcd", "lcm", "binomial", "tau", "sigma", "prime", "digit_sum", "factorial", "sqrt"]


@dataclass(frozen=True, slots=True)
class Number:
    """A non-negative literal in plain decimal digits, ``12`` or ``0.5``, without leading zeros or separators."""

    text: str

    @property
    def is_integer(self) -> bool:
        return "." not in self.text


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x``, ``x!`` or ``x%``."""

    operator: UnaryOperator
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands with an operator between them; ``^`` is a power, ``mod`` the remainder."""

    operator: BinaryOperator
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Call:
    """A known function of some arguments."""

    function: Function
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """An unknown, a single letter."""

    name: str


Expression = Number | Variable | Unary | Binary | Call

SYMPY_FUNCTIONS: Final[Mapping[Function, str]] = {
    "gcd": "sympy.igcd",
    "lcm": "sympy.ilcm",
    "binomial": "sympy.binomial",
    "tau": "sympy.divisor_count",
    "sigma": "sympy.divisor_sigma",
    "prime": "sympy.prime",
    "factorial": "sympy.factorial",
    "sqrt": "sympy.sqrt",
}

_PRECEDENCE: Final = {"+": 1, "-": 1, "mod": 2, "*": 2, "/": 2, "^": 4}
_NEGATION_PRECEDENCE: Final = 3
_ATOM: Final = 5
_PYTHON: Final = {"mod": "%", "^": "**"}


def parts_of(expression: Expression) -> Iterator[Expression]:
    """The expression and everything inside it."""
    yield expression
    match expression:
        case Unary(_, operand):
            yield from parts_of(operand)
        case Binary(_, left, right):
            yield from parts_of(left)
            yield from parts_of(right)
        case Call(_, arguments):
            for argument in arguments:
                yield from parts_of(argument)


def is_integer_expression(expression: Expression) -> bool:
    """Whether Python's integer operators compute it exactly: no quotients, decimals, percentages, named functions."""
    return all(_stays_integer(part) for part in parts_of(expression))


def has_sympy_form(expression: Expression) -> bool:
    """Whether SymPy has every function in it."""
    return all(not isinstance(part, Call) or part.function in SYMPY_FUNCTIONS for part in parts_of(expression))


def to_python(expression: Expression, rational: str | None = None) -> str:
    """Python source that computes the expression.

    Args:
        expression: What to compute.
        rational: Name of a constructor of exact fractions, ``Fraction`` or ``sympy.Rational``, for quotients and
            decimals; ``None`` writes them with ``/`` and as decimals, for parsers of mathematics rather than Python.
    """
    return _render(expression, rational)[0]


def _render(expression: Expression, rational: str | None) -> tuple[str, int]:
    """Source and the precedence of its outermost operator."""
    match expression:
        case Number(text):
            return (text if rational is None or expression.is_integer else f'{rational}("{text}")'), _ATOM
        case Variable(name):
            return name, _ATOM
        case Unary("-", operand):
            return f"-{_operand(operand, rational, _NEGATION_PRECEDENCE)}", _NEGATION_PRECEDENCE
        case Unary("!", operand):
            return f"{SYMPY_FUNCTIONS['factorial']}({to_python(operand, rational)})", _ATOM
        case Unary(_, operand):
            return _quotient(operand, Number("100"), rational)
        case Binary("/", left, right):
            return _quotient(left, right, rational)
        case Binary(operator, left, right):
            own = _PRECEDENCE[operator]
            # A power groups from the right, everything else from the left.
            before, after = (own + 1, _NEGATION_PRECEDENCE) if operator == "^" else (own, own + 1)
            first, second = _operand(left, rational, before), _operand(right, rational, after)
            if (
                operator == "^"
                and rational is not None
                and is_integer_expression(left)
                and not isinstance(right, Number)
            ):
                # Python's integers turn to floats under a negative exponent, exact fractions do not.
                first = f"{rational}({to_python(left)})"
            return f"{first} {_PYTHON.get(operator, operator)} {second}", own
        case Call(function, arguments):
            inside = ", ".join(to_python(argument, rational) for argument in arguments)
            return f"{SYMPY_FUNCTIONS[function]}({inside})", _ATOM


def _operand(expression: Expression, rational: str | None, least: int) -> str:
    text, precedence = _render(expression, rational)
    return text if precedence >= least else f"({text})"


def _quotient(left: Expression, right: Expression, rational: str | None) -> tuple[str, int]:
    # SymPy divides its own roots and unknowns exactly, and its constructor of fractions takes neither.
    if rational is not None and not any(_is_symbolic(part) for side in (left, right) for part in parts_of(side)):
        return f"{rational}({to_python(left, rational)}, {to_python(right, rational)})", _ATOM
    own = _PRECEDENCE["/"]
    return f"{_operand(left, rational, own)} / {_operand(right, rational, own + 1)}", own


def _is_symbolic(part: Expression) -> bool:
    return isinstance(part, Variable) or (isinstance(part, Call) and part.function == "sqrt")


def _stays_integer(part: Expression) -> bool:
    match part:
        case Number():
            return part.is_integer
        case Unary(operator):
            return operator == "-"
        case Binary("^", _, exponent):
            # A difference in an exponent may turn out negative.
            return isinstance(exponent, Number)
        case Binary(operator):
            return operator != "/"
        case Call() | Variable():
            return False

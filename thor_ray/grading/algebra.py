"""Whether two expressions, equations or inequalities are the same: identity testing on numbers.

Two trees are evaluated to 40 digits or more, all symbols at the same pseudo-random points. Different formulas agree at a
random point with a probability that is practically zero (Schwartz and Zippel's argument), and nothing needs to be
simplified, which is where computer algebra takes its time and makes its mistakes. Constants get so many digits that
neither ``10^{-60}`` nor ``e^{-1000}`` can hide.

Runs in workers only; see ``evaluation``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import mpmath

from thor_ray.grading.evaluation import GUARD_DIGITS, LEAST_DIGITS, MOST_DIGITS, Evaluator, Value, is_known
from thor_ray.grading.expressions import Call, Constant, Expression, Matrix, Number, Relation, Symbol, subtrees
from thor_ray.grading.numerals import TooLargeError
from thor_ray.grading.parsing import parse, readings
from thor_ray.grading.tokens import ExpressionError

_NUMBER_DIGITS = 45
_TRIALS = 6
_TRIALS_OF_STEPS = 40
"""Functions with steps agree with others at many points, so they are tried at more."""
_STEPS = frozenset("floor ceiling mod gcd lcm min max abs sgn".split())
_MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "=": "=", "\\ne": "\\ne"}
_INTEGRATION_CONSTANT = re.compile(r"^[cC](?:_\d)?$")


class UnreadableError(ValueError):
    """One side is no expression.

    Attributes:
        side: ``gold`` or ``answer``.
    """

    def __init__(self, side: str) -> None:
        super().__init__(f"the {side} is not readable")
        self.side = side


def equal(gold: str, answer: str) -> bool | None:
    """Compares two normalised texts in each of their readings.

    Returns:
        ``None`` if they could not be evaluated at any point.

    Raises:
        UnreadableError: One of them is not an expression, an equation or an inequality.
        TooLargeError: They cannot be evaluated in reasonable time.
    """
    outcomes = []
    for gold_reading in _readings(gold, "gold"):
        for answer_reading in _readings(answer, "answer"):
            for log_base in (None, 10) if _has_bare_logarithm(gold_reading, answer_reading) else (None,):
                outcomes.append(_same(gold_reading, answer_reading, log_base))
                if outcomes[-1]:
                    return True
    return False if False in outcomes else None


def number(text: str) -> Fraction | None:
    """The value of a normalised expression; ``None`` if it is not a real constant.

    It is rounded to 45 digits, or to more if small differences are at stake, so that different expressions of one number
    come out the same.

    Raises:
        TooLargeError: It cannot be evaluated in reasonable time.
    """
    try:
        expression = parse(text)
    except ExpressionError:
        return None
    if isinstance(expression, Matrix) or _has_symbols(expression):
        return None
    point = _last_point(0, None, expression, least_digits=_NUMBER_DIGITS + GUARD_DIGITS)
    (value,) = point.values
    if value is None or isinstance(value, mpmath.matrix) or not point.is_real(value):
        return None
    with mpmath.workdps(point.digits):
        return Fraction(mpmath.nstr(mpmath.re(value), point.digits - GUARD_DIGITS))


def _readings(text: str, side: str) -> tuple[Expression | Relation, ...]:
    try:
        return readings(text)
    except ExpressionError as error:
        raise UnreadableError(side) from error


def _same(gold: Expression | Relation, answer: Expression | Relation, log_base: int | None) -> bool | None:
    if isinstance(gold, Relation) != isinstance(answer, Relation):
        return False
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _same_relations(gold, answer, log_base)
    assert not isinstance(gold, Relation)
    assert not isinstance(answer, Relation)
    return _same_expressions(gold, _with_integration_constant_of(gold, answer), log_base)


def _same_expressions(gold: Expression, answer: Expression, log_base: int | None) -> bool | None:
    has_symbols = _has_symbols(gold) or _has_symbols(answer)
    trials = range(_trials(gold, answer) if has_symbols else 1)
    is_complex = any(node == Constant("i") for side in (gold, answer) for node in subtrees(side))
    # Real variables mean real values: where the gold expression has none, an answer may have any. Complex values are the
    # last resort for expressions that are real only at places where nobody has looked, such as the root of x - 1000.
    for real_only in (False,) if is_complex or not has_symbols else (True, False):
        is_decided = False
        for trial in trials:
            agree = _agree_at(trial, gold, answer, log_base, real_only)
            if agree is False:
                return False
            is_decided = is_decided or agree is True
        if is_decided:
            return True
    return None


def _agree_at(trial: int, gold: Expression, answer: Expression, log_base: int | None, real_only: bool) -> bool | None:
    """Whether both have the same value at one point; ``None`` if the gold expression has none there."""
    for point in _points(trial, log_base, gold, answer):
        gold_value, answer_value = point.values
        if gold_value is None or (real_only and not point.is_real(gold_value)):
            return None
        if answer_value is None or not point.agree(gold_value, answer_value):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Point:
    """Values of some trees at one point.

    Attributes:
        values: ``None`` where a tree is undefined.
        scale: What rounding errors are relative to.
        digits: Precision of the values.
    """

    values: tuple[Value | None, ...]
    scale: Value
    digits: int

    def agree(self, left: Value, right: Value) -> bool:
        if isinstance(left, mpmath.matrix) and isinstance(right, mpmath.matrix):
            if (left.rows, left.cols) != (right.rows, right.cols):
                return False
            return all(self.agree(one, other) for one, other in zip(left, right, strict=True))
        if isinstance(left, mpmath.matrix) or isinstance(right, mpmath.matrix):
            return False
        return bool(abs(left - right) <= self._error(max(abs(left), abs(right))))

    def is_real(self, value: Value) -> bool:
        return isinstance(value, mpmath.matrix) or bool(abs(mpmath.im(value)) <= self._error(abs(value)))

    def is_zero(self, value: Value) -> bool:
        return bool(abs(value) <= self._error(0))

    def _error(self, magnitude: Value) -> Value:
        """The greatest rounding error of a value of this magnitude."""
        return mpmath.mpf(10) ** (GUARD_DIGITS - self.digits) * max(self.scale, magnitude)


def _points(trial: int, log_base: int | None, *trees: Expression, least_digits: int = LEAST_DIGITS) -> Iterator[_Point]:
    """All trees at one point: to ``least_digits``, then to as many as it takes to tell small differences, if more.

    What would be misleading at a low precision is left out; the last point never is.

    Raises:
        TooLargeError: That would be more than ``MOST_DIGITS``.
    """
    digits, needed = 0, least_digits
    while needed > digits + GUARD_DIGITS:
        if needed > MOST_DIGITS:
            raise TooLargeError
        digits = needed
        evaluator = Evaluator(trial, log_base)
        with mpmath.workdps(digits):
            values = tuple(evaluator.value_or_none(tree) for tree in trees)
        needed = least_digits + int(evaluator.digits_at_stake)
        if not evaluator.has_rounded_to_zero or needed <= digits + GUARD_DIGITS:
            yield _Point(values, evaluator.scale, digits)


def _last_point(trial: int, log_base: int | None, *trees: Expression, least_digits: int = LEAST_DIGITS) -> _Point:
    *_, point = _points(trial, log_base, *trees, least_digits=least_digits)
    return point


def _trials(*trees: Expression) -> int:
    has_steps = any(isinstance(node, Call) and node.name in _STEPS for tree in trees for node in subtrees(tree))
    return _TRIALS_OF_STEPS if has_steps else _TRIALS


def _same_relations(gold: Relation, answer: Relation, log_base: int | None) -> bool | None:
    """Relations are the same if their sides differ by the same constant factor, if need be read from right to left."""
    mirrored = Relation(answer.sides[::-1], tuple(_MIRRORED[operator] for operator in reversed(answer.operators)))
    readings = [reading for reading in (answer, mirrored) if gold.operators == reading.operators]
    outcomes = [_same_differences(gold, reading, log_base) for reading in readings]
    return next((outcome for outcome in (True, None) if outcome in outcomes), False)


def _same_differences(gold: Relation, answer: Relation, log_base: int | None) -> bool | None:
    """Whether each difference of neighbouring sides is a constant times the gold's, positive for inequalities."""
    if not any(_has_symbols(side) for relation in (gold, answer) for side in relation.sides):
        pairs = zip(gold.sides, answer.sides, strict=True)
        return all(_same_expressions(one, other, log_base) for one, other in pairs)
    may_be_negative = set(gold.operators) <= {"=", "\\ne"}
    for gold_difference, answer_difference in zip(_differences(gold), _differences(answer), strict=True):
        first: tuple[Value, int] | None = None
        for trial in range(_trials(gold_difference, answer_difference)):
            point = _last_point(trial, log_base, gold_difference, answer_difference)
            gold_value, answer_value = point.values
            if gold_value is None or isinstance(gold_value, mpmath.matrix):
                continue
            if answer_value is None or isinstance(answer_value, mpmath.matrix):
                return False
            if point.is_zero(gold_value) or point.is_zero(answer_value):
                return False  # holds everywhere, or by accident here; neither is the usual equation
            with mpmath.workdps(point.digits):
                first = (answer_value / gold_value, point.digits) if first is None else first
                factor, digits = first
                if not replace(point, digits=min(digits, point.digits)).agree(answer_value, factor * gold_value):
                    return False
        if first is None:
            return None
        if not may_be_negative and (mpmath.im(first[0]) != 0 or mpmath.re(first[0]) < 0):
            return False
    return True


def _differences(relation: Relation) -> Iterator[Expression]:
    for left, right in zip(relation.sides, relation.sides[1:], strict=False):
        yield Call("+", (left, Call("*", (Number(Fraction(-1)), right))))


def _has_symbols(expression: Expression) -> bool:
    """Whether the value of a tree depends on the point at which it is evaluated."""
    return any(
        isinstance(node, Symbol) or (isinstance(node, Call) and not is_known(node.name))
        for node in subtrees(expression)
    )


def _has_bare_logarithm(*readings: Expression | Relation) -> bool:
    trees = [tree for reading in readings for tree in (reading.sides if isinstance(reading, Relation) else (reading,))]
    nodes = (node for tree in trees for node in subtrees(tree))
    return any(isinstance(node, Call) and node.name == "log" and len(node.arguments) == 1 for node in nodes)


def _with_integration_constant_of(gold: Expression, answer: Expression) -> Expression:
    """The answer with its constant of integration in the case that the gold answer writes it in."""
    gold_names, answer_names = (
        {node.name for node in subtrees(side) if isinstance(node, Symbol)} for side in (gold, answer)
    )
    foreign = {name for name in answer_names - gold_names if _INTEGRATION_CONSTANT.match(name)}
    renamed = {name: name.swapcase() for name in foreign if name.swapcase() in gold_names - answer_names}
    return _renamed(answer, renamed) if renamed else answer


def _renamed(expression: Expression, names: dict[str, str]) -> Expression:
    match expression:
        case Symbol(name=name):
            return Symbol(names.get(name, name))
        case Call(name=name, arguments=arguments):
            return Call(name, tuple(_renamed(argument, names) for argument in arguments))
        case Matrix(rows=rows):
            return Matrix(tuple(tuple(_renamed(cell, names) for cell in row) for row in rows))
        case _:
            return expression

"""The parser reads back what was written, refuses the rest, and never evaluates anything."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.refine.expressions import (
    Binary,
    Call,
    Expression,
    Number,
    Unary,
    Variable,
    is_integer_expression,
    to_python,
)
from thor_ray.refine.parser import MAX_DEPTH, ExpressionSyntaxError, parse_expression
from thor_ray.refine.tokens import tokenize

integers = st.integers(0, 10**9).map(lambda value: Number(str(value)))
decimals = st.builds(lambda whole, part: Number(f"{whole}.{part}"), st.integers(0, 999), st.integers(0, 99))


def composed(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return (
        st.builds(Unary, st.sampled_from(["-", "!", "%"]), parts)
        | st.builds(Binary, st.sampled_from(["+", "-", "*", "/", "^", "mod"]), parts, parts)
        | st.builds(lambda a, b: Call("gcd", (a, b)), parts, parts)
        | st.builds(lambda a, b, c: Call("lcm", (a, b, c)), parts, parts, parts)
        | st.builds(lambda a: Call("tau", (a,)), parts)
    )


expressions = st.recursive(integers | decimals, composed, max_leaves=5)


def in_brackets(expression: Expression) -> str:
    """Plain notation with every operand in brackets, so that no rule of precedence is needed to read it."""
    match expression:
        case Number(text):
            return text
        case Unary("-", operand):
            return f"-({in_brackets(operand)})"
        case Unary(operator, operand):
            return f"({in_brackets(operand)}){operator}"
        case Binary(operator, left, right):
            return f"({in_brackets(left)}) {operator} ({in_brackets(right)})"
        case Call(function, arguments):
            return f"{function}({', '.join(map(in_brackets, arguments))})"
        case Variable(name):
            return name


def parse(text: str) -> Expression:
    tokens = tokenize(text)
    expression, end = parse_expression(tokens, 0)
    assert end == len(tokens), f"{tokens[end:]} left over"
    return expression


@given(expressions)
def test_what_is_written_with_brackets_is_read_back(expression):
    assert parse(in_brackets(expression)) == expression


def value_of(expression: Expression) -> Fraction:
    match expression:
        case Number(text):
            return Fraction(text)
        case Unary("-", operand):
            return -value_of(operand)
        case Unary("%", operand):
            return value_of(operand) / 100
        case Binary("+", left, right):
            return value_of(left) + value_of(right)
        case Binary("-", left, right):
            return value_of(left) - value_of(right)
        case Binary("*", left, right):
            return value_of(left) * value_of(right)
        case Binary("/", left, right):
            return value_of(left) / value_of(right)
    raise AssertionError(expression)


small = st.integers(1, 99).map(lambda value: Number(str(value)))
arithmetic = st.recursive(
    small | st.builds(lambda whole: Number(f"{whole}.5"), st.integers(0, 9)),
    lambda parts: (
        st.builds(Unary, st.just("-"), parts)
        | st.builds(Binary, st.sampled_from(["+", "-", "*"]), parts, parts)
        | st.builds(Binary, st.just("/"), parts, small)
        | st.builds(Unary, st.just("%"), parts)
    ),
    max_leaves=8,
)


@given(arithmetic)
def test_python_source_computes_the_same_value_exactly(expression):
    source = to_python(expression, "Fraction")
    assert eval(source, {"__builtins__": {}, "Fraction": Fraction}) == value_of(expression)


@given(expressions)
def test_integer_expressions_have_the_same_source_with_and_without_fractions(expression):
    if is_integer_expression(expression):
        assert to_python(expression) == to_python(expression, "Fraction")


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("2 + 3 * 4", "2 + 3 * 4"),
        ("(2 + 3) * 4", "(2 + 3) * 4"),
        ("10 - (4 - 3)", "10 - (4 - 3)"),
        ("10 - 4 - 3", "10 - 4 - 3"),
        ("2^3^2", "2 ** 3 ** 2"),
        ("(2^3)^2", "(2 ** 3) ** 2"),
        ("-2^2", "-2 ** 2"),
        ("(-2)^2", "(-2) ** 2"),
        ("3 × 4 ÷ 2", "3 * 4 / 2"),
        ("\\frac{3}{4} \\cdot 8", "3 / 4 * 8"),
        ("1,200 * 3", "1200 * 3"),
        ("007 + 1", "7 + 1"),
        ("25% of 80", "25 / 100 * 80"),
        ("7^13 % 11", "7 ** 13 % 11"),
        ("2 + 3 mod 4", "(2 + 3) % 4"),
    ],
)
def test_precedence_and_notations(text, python):
    assert to_python(parse(text)) == python


def test_commas_separate_arguments_but_group_digits_elsewhere():
    assert parse("gcd(100,200)") == Call("gcd", (Number("100"), Number("200")))
    assert parse("100,200") == Number("100200")


@pytest.mark.parametrize("text", ["", "+", "(2", "2 +", "gcd(2)", "tau(2, 3)", "x", "2 * )", "\\frac{1}x", "\\frac123"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(ExpressionSyntaxError):
        parse(text)


def test_deep_nesting_is_refused_rather_than_exhausting_the_stack():
    parse("(" * (MAX_DEPTH - 2) + "1" + ")" * (MAX_DEPTH - 2))
    for hostile in ("(" * 5_000, "-" * 5_000 + "1", "2^" * 5_000 + "1", "gcd(" * 5_000):
        with pytest.raises(ExpressionSyntaxError):
            parse(hostile)

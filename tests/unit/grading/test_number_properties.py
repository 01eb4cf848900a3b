"""Every spelling of a number equals the number, and no spelling of another number does."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import GradeStatus, grade_inline
from thor_ray.grading.normalisation import normalise
from thor_ray.grading.rational import evaluate

integers = st.integers(-(10**12), 10**12)
fractions = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=5_000)


def status(answer: str, gold: str) -> GradeStatus:
    grade = grade_inline(answer, gold)
    assert grade is not None, f"{answer} against {gold} went to the algebra"
    return grade.status


def integer_spellings(value: int) -> list[str]:
    sign, digits = ("-" if value < 0 else ""), abs(value)
    return [
        str(value),
        f" {value} ",
        f"${value}$",
        f"{value}.",
        f"{value}.0",
        f"({value})",
        f"{value}^\\circ",
        f"{value} \\text{{ units}}",
        f"x = {value}",
        f"\\mathbf{{{value}}}",
        f"{sign}{digits:,}",
        f"{sign}{digits:,}".replace(",", "{,}"),
        f"{sign}{digits:,}".replace(",", ",\\!"),
        f"{sign}{digits:,}".replace(",", "\\,"),
        f"{sign}{digits:,}".replace(",", " "),
        f"\\frac{{{value * 3}}}{{3}}",
        f"{value}/1",
        f"{value} \\times 10^{{0}}",
        f"0 + {value}" if value >= 0 else f"0 - {digits}",
    ]


def fraction_spellings(value: Fraction) -> list[str]:
    sign, numerator, denominator = ("-" if value < 0 else ""), abs(value.numerator), value.denominator
    spellings = [
        f"{sign}{numerator}/{denominator}",
        f"{sign}\\frac{{{numerator}}}{{{denominator}}}",
        f"\\frac{{{sign}{numerator}}}{{{denominator}}}",
        f"{sign}\\dfrac{{{numerator * 7}}}{{{denominator * 7}}}",
        f"\\left({sign}\\tfrac{{{numerator}}}{{{denominator}}}\\right)",
        f"{sign}{numerator} \\div {denominator}",
        f"{sign}{numerator} \\cdot {denominator}^{{-1}}",
    ]
    whole, rest = divmod(numerator, denominator)
    if whole and rest:
        spellings.append(f"{sign}{whole}\\frac{{{rest}}}{{{denominator}}}")
        spellings.append(f"{sign}{whole} {rest}/{denominator}")
    return spellings


@given(integers, st.data())
def test_an_integer_equals_itself_in_any_spelling(value: int, data: st.DataObject) -> None:
    gold, answer = (data.draw(st.sampled_from(integer_spellings(value))) for _ in range(2))
    assert status(answer, gold) is GradeStatus.CORRECT


@given(integers, integers.filter(bool), st.data())
def test_an_integer_never_equals_another(value: int, bump: int, data: st.DataObject) -> None:
    gold = data.draw(st.sampled_from(integer_spellings(value)))
    answer = data.draw(st.sampled_from(integer_spellings(value + bump)))
    assert status(answer, gold) is GradeStatus.WRONG


@given(fractions, st.data())
def test_a_fraction_equals_itself_in_any_spelling(value: Fraction, data: st.DataObject) -> None:
    gold, answer = (data.draw(st.sampled_from(fraction_spellings(value))) for _ in range(2))
    assert status(answer, gold) is GradeStatus.CORRECT


@given(fractions, st.fractions(max_denominator=5_000).filter(bool), st.data())
def test_a_fraction_never_equals_another(value: Fraction, bump: Fraction, data: st.DataObject) -> None:
    gold = data.draw(st.sampled_from(fraction_spellings(value)))
    answer = data.draw(st.sampled_from(fraction_spellings(value + bump)))
    assert status(answer, gold) is GradeStatus.WRONG


@given(st.decimals(-(10**9), 10**9, places=6), st.integers(1, 9))
def test_a_bumped_decimal_place_is_seen(value: object, bump: int) -> None:
    text = f"{value:f}"
    assert status(text, text) is GradeStatus.CORRECT
    assert status(f"{text}{bump}", text) is GradeStatus.WRONG
    assert status(f"{text}000", text) is GradeStatus.CORRECT


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.data())
def test_lists_and_sets_have_no_order_and_tuples_have_one(values: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    gold, answer = ", ".join(map(str, values)), ", ".join(map(str, shuffled))
    assert status(answer, gold) is GradeStatus.CORRECT
    assert status(f"\\{{{answer}\\}}", f"\\{{{gold}\\}}") is GradeStatus.CORRECT
    assert (status(f"({answer})", f"({gold})") is GradeStatus.CORRECT) == (shuffled == values)
    assert status(answer + ", 100", gold) is GradeStatus.WRONG
    assert status(", ".join(map(str, shuffled[1:])), gold) is GradeStatus.WRONG


expressions = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"(-{text})"),
    ),
    max_leaves=8,
)


@given(expressions)
def test_arithmetic_agrees_with_python(expression: str) -> None:
    expected = eval(expression, {"__builtins__": {}})
    assert evaluate(normalise(expression)) == expected


@given(st.text(alphabet="0123456789+-/^!(){}.,% ={}\\fracxe", max_size=30))
def test_any_text_gets_a_verdict_or_goes_to_the_algebra(answer: str) -> None:
    grade = grade_inline(answer, "5")
    assert grade is None or grade.status in (GradeStatus.CORRECT, GradeStatus.WRONG, GradeStatus.UNPARSABLE)

"""Which answers equal which gold answers: the measured errors of other graders, and guards in both directions."""

from fractions import Fraction

import pytest

from thor_ray.grading import GraderPool, GradeStatus, grade_inline
from thor_ray.grading.comparison import compare

# Spec H.2, complete: (prediction, truth, is it correct).
RELEASED_VERIFIER_TABLE = [
    (r"2\sqrt{3}", r"2\sqrt{5}", False),
    (r"5+2\sqrt{6}", r"5+2\sqrt{7}", False),
    (r"2\sqrt{3}", "2", False),
    (r"3\pi", "3", False),
    ("10^{5}", "10^{6}", False),
    ("2^{10}", "2", False),
    ("3x", "3", False),
    ("1,2", "12", False),
    (r"4\text{ and }5", "45", False),
    (r"\dfrac{\pi}{2}", r"\frac{\pi}{2}", True),
    (r"\sqrt{12}", r"2\sqrt{3}", True),
    (r"\text{A}", "A", True),
    (r"\mathbf{7}", "7", True),
    ("x^2+1", "1+x^2", True),
    (r"\{1,2\}", r"\{2,1\}", True),
    (r"(3,\frac{\pi}{2})", r"\left(3,\frac{\pi}{2}\right)", True),
    (r"(-\infty,2]", r"(-\infty, 2]", True),
    ("2^{10}", "1024", True),
    (r"\frac12", "0.5", True),
    (r"\frac{1}{2}", "1/2", True),
    ("1,000", "1000", True),
    (r"72^\circ", "72", True),
    ("x=5", "5", True),
    (r"12\%", "12", True),
    ("0.12", r"12\%", True),
    ("-3", "3", False),
    ("-3", "-3", True),
]

NUMBERS = [
    (r"1\frac{4}{5}", r"\frac{9}{5}", True),
    (r"137 \frac{1}{2}", "137.5", True),
    ("137 1/2", "137.5", True),
    (r"-2\frac{1}{3}", r"-\frac{7}{3}", True),
    (r"10,\!080", "10080", True),
    ("1{,}000{,}000", "1000000", True),
    (r"1\,000\,000", "1000000", True),
    ("1 000 000", "1,000,000", True),
    (r"\frac 34", "0.75", True),
    (r"\frac9{19}", r"\dfrac{9}{19}", True),
    (".0000672", "6.72e-5", True),
    (r"6.72 \times 10^{-5}", ".0000672", True),
    (r"0.\overline{3}", r"\frac{1}{3}", True),
    (r"0.1\overline{6}", r"\frac{1}{6}", True),
    (r"\frac{-1}{1997}", r"-\frac{1}{1997}", True),
    (r"2^{1009}", r"2 \cdot 2^{1008}", True),
    (r"6 \times 5^{2015}", r"30 \cdot 5^{2014}", True),
    ("5!", "120", True),
    (r"\binom{6}{2}", "15", True),
    ("(2+3)^2/5", "5", True),
    ("2 * 3", "6", True),
    ("+7", "7", True),
    ("5.", "5", True),
    ("007", "7", True),
    ("4.0", "4", True),
    ("0.333333", r"\frac{1}{3}", False),
    ("3.14", r"\pi", False),
    ("1.414214", r"\sqrt{2}", False),
    ("1e-20", "2e-20", False),
    (r"10^{-20}\pi", r"2 \cdot 10^{-20}\pi", False),
    (r"10^{-60}\pi", r"2 \cdot 10^{-60}\pi", False),
    ("12345678901234567890", "12345678901234567891", False),
    (r"10^{30}\sqrt{2}", r"(10^{30}+1)\sqrt{2}", False),
    ("2.5", "25", False),
    (r"0.5\%", "0.5", False),
    (r"50\%", "0.5", True),
    (r"62.5\%", "62.5", True),
    (r"12\%", "0.13", False),
]

GUESSES = [  # several candidates, or a range, where one value is asked
    ("1, 2", "1", False),
    ("1 or 2", "1", False),
    (r"5 \text{ or } 6", "5", False),
    ("5 and 6", "6", False),
    (r"\pm 2", "2", False),
    (r"2 \pm 0", "2", False),
    (r"\{5\}", "5", False),
    (r"[5]", "5", False),
    (r"[4, 6]", "5", False),
    (r"(4, 6)", "5", False),
    (r"x > 4", "5", False),
    (r"4 \le x \le 6", "5", False),
    (r"5 \text{ or more}", "5", False),
    (r"1, 2, \ldots", "1", False),
    ("1, 2, ...", "1, 2", False),
    (r"x = 5, x = 6", "5", False),
    (r"x = 5 = 6", "5", False),
    ("2+4=5", "5", False),
    ("2+3=5", "5", True),
    (r"x = \frac{10}{2} = 5", "5", True),
    (r"\sin x = 5", "5", False),
    (r"\approx 1.41", r"\sqrt{2}", False),
    ("5; import os", "5", False),
    ("anything", "5", False),
    (r"x \ne 5", "5", False),
    ("1:2", "1", False),
]

SHAPES = [
    ("1,-2", "-2,1", True),
    ("1 and -2", "-2,1", True),
    ("x=1, x=-2", "-2,1", True),
    (r"1, \sqrt{12}", r"2\sqrt{3}, 1", True),
    ("1,-2,3", "-2,1", False),
    ("1,1", "1,2", False),
    ("1,2", "1,1", False),
    ("(1,2)", "(2,1)", False),
    ("(1,2)", "[1,2]", False),
    ("(1,2]", "(1,2)", False),
    (r"(1,3)", r"\{1,3\}", False),
    (r"\{1,3\}", "3, 1", True),
    ("1,3", "(1,3)", True),
    ("3,1", "(1,3)", False),
    ("(1,3)", "1,3", False),
    (r"(x,y)=(1,3)", "(1,3)", True),
    ("(3,2), (1,1)", "(1,1), (3,2)", True),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}", True),
    (r"\{-2, 1+\sqrt{5}, 1-\sqrt{5}\}", r"\{1\pm\sqrt{5},-2\}", True),
    (r"(3,\infty) \cup (-\infty,2)", r"(-\infty, 2) \cup (3, \infty)", True),
    (r"(-\infty,2) \cup [3,\infty)", r"(-\infty, 2) \cup (3, \infty)", False),
    (r"-2 \le x \le 7", r"x \in [-2,7]", True),
    (r"[-2,7]", r"x \in [-2,7]", True),
    (r"-2 < x \le 7", r"x \in [-2,7]", False),
    (r"k \geq 2", r"[2, \infty)", True),
    (r"2 \le k", r"k \geqslant 2", True),
    (r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}", r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}", True),
    (r"\begin{bmatrix} 1 & 2 \end{bmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", False),
    ("y = 2x+3", "y = 3+2x", True),
    ("2x+3", "y = 2x+3", True),
    ("z = 2x+3", "y = 2x+3", False),
    ("2x - y + 3 = 0", "y = 2x+3", True),
    ("5x-7y+11z=-4", "5x - 7y + 11z + 4 = 0", True),
    ("5x-7y+11z", "5x - 7y + 11z + 4 = 0", False),
    ("y=2, x=1", "x=1, y=2", True),
    ("2, 1", "x=1, y=2", False),
    ("1, 2", "x=1, y=2", True),
    ("5:00", "05:00", True),
    ("5:01", "05:00", False),
    (r"x \ne 1", r"x \neq 1", True),
    ("2500, 7500", "2500,7500", True),
    ("100, 200", "100,200", True),
]

UNITS = [
    (r"864", r"864 \mbox{ inches}^2", True),
    (r"864 \text{ in}^2", r"864 \mbox{ inches}^2", True),
    (r"864 \text{ square inches}", r"864 \mbox{ inches}^2", True),
    (r"864 \text{ inches}^3", r"864 \mbox{ inches}^2", False),
    (r"15\mbox{ cm}", r"15\mbox{ cm}^2", False),
    (r"15 \text{ m}", r"15 \text{ cm}", False),
    ("18.90", r"\$18.90", True),
    ("18.90 dollars", r"\$18.90", True),
    ("18.90 cents", r"\$18.90", False),
    (r"\frac{270}{7}^\circ", r"\frac{270}7\text{ degrees}", True),
    ("5 apples", "5", True),
    (r"15 \text{ square units}", r"15\mbox{ cm}^2", True),
    (r"15 \text{ units}", r"15\mbox{ cm}^2", False),
    ("60 mph", "60 miles per hour", True),
    (r"5 \text{ million}", "5", False),
    (r"5 \text{ squared}", "5", False),
    (r"5 \text{ dozen}", "5", False),
    ("6m", "6", False),
    ("6", "6m", False),
    (r"5\mathrm{i}", "5", False),
    (r"2\sqrt{3} \text{ cm}", r"2\sqrt{3}", True),
]

BASES_AND_SUBSCRIPTS = [
    ("52_{8}", "52_8", True),
    ("52_9", "52_8", False),
    ("52", "52_8", False),
    ("42", "52_8", False),
    (r"52_{\text{eight}}", "52_8", True),
    ("0.0011_3", "0.0011_{2}", False),
]

WORDS = [
    (r"\text{Evelyn}", "Evelyn", True),
    ("evelyn", r"\text{Evelyn}", True),
    (r"\textbf{(C)}", r"\text{(C)}", True),
    ("C", r"\text{(C)}", True),
    ("D", r"\text{(C)}", False),
    ("odd", r"\text{even}", False),
    ("seat", "east", False),
    ("an ellipse", r"\text{ellipse}", True),
    ("M", "m", False),
]

ALGEBRA = [
    ("x(3x+4)", "3x^2+4x", True),
    (r"\frac{1}{\tan x}", r"\cot x", True),
    (r"\frac{\log_{10} 2}{\log_{10} (2/3)}", r"\frac{\log 2}{\log 2-\log 3}", True),
    ("2i+1", "1+2i", True),
    ("1+2i", "1-2i", False),
    ("x+1", "y+1", False),
    ("p-q", "q-p", False),
    ("1-1/e", "1+1/e", False),
    (r"\pi r^2", r"\pi R^2", False),
    (r"G M + g", r"g M + G", False),
    ("(1+i)^2", "2i", True),
    ("(2+i)(2-i)", "5", True),
    ("E_0 + E_{1}", "E_1+E_0", True),
    ("y+ry", "y'+ry", False),
    (r"r y + y^{\prime}", "y'+ry", True),
    (r"\omega t", r"\Omega t", False),
    ("100 p^{0.5}", r"100 p^{\frac{1}{2}}", True),
    (r"-\infty", r"\infty", False),
    (r"+\infty", r"\infty", True),
]


@pytest.mark.parametrize(
    ("answer", "gold", "is_correct"),
    [
        *RELEASED_VERIFIER_TABLE,
        *NUMBERS,
        *GUESSES,
        *SHAPES,
        *UNITS,
        *BASES_AND_SUBSCRIPTS,
        *WORDS,
        *ALGEBRA,
    ],
)
def test_verdict(pool: GraderPool, answer: str, gold: str, is_correct: bool) -> None:
    grade = pool.grade_answer(answer, gold)
    assert grade.status is (GradeStatus.CORRECT if is_correct else GradeStatus.WRONG), grade


@pytest.mark.parametrize(
    "answer", ["5", "17.5", r"\frac{3}{7}", "x+1", "1, 2", "(1,2)", "foo", "2^{10}", "5 km", "3:4"]
)
@pytest.mark.parametrize("gold", ["7", "-12", "1000", "0.25", r"\frac{1}{3}"])
def test_problems_with_a_number_as_gold_need_no_process_for_everyday_answers(answer: str, gold: str) -> None:
    grade = grade_inline(answer, gold)
    assert grade is not None
    assert grade.status is GradeStatus.WRONG


@pytest.mark.parametrize("answer", ["1 2", r"\frac{1}{2", "1)", "(1", "1/0", r"\frac{3}{2-2}", "$$", r"\sqrt{}+"])
def test_what_means_nothing_is_unparsable(pool: GraderPool, answer: str) -> None:
    assert pool.grade_answer(answer, "5").status is GradeStatus.UNPARSABLE


def test_a_gold_answer_outside_mathematics_is_compared_as_text(pool: GraderPool) -> None:
    gold = r"np.arcsin(10/13)"
    assert pool.grade_answer(gold, gold).status is GradeStatus.CORRECT
    grade = pool.grade_answer(r"\arcsin(10/13)", gold)
    assert grade.status is GradeStatus.UNPARSABLE
    assert "gold" in grade.reason


class RecordingAlgebra:
    """Says that everything is equal, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def equal(self, gold: str, answer: str) -> bool:
        self.asked.append((gold, answer))
        return True

    def number(self, text: str) -> Fraction | None:
        raise AssertionError(f"nobody needs the value of {text}")


def test_algebra_is_asked_only_where_nothing_plainer_decides() -> None:
    algebra = RecordingAlgebra()
    assert compare(r"(\sqrt{2}, 3)", r"(\sqrt{3}, 4)", algebra).equal is False
    assert algebra.asked == []
    assert compare(r"(\sqrt{2}, 3)", r"(\sqrt{5}, 3)", algebra).equal is True
    assert algebra.asked == [(r"\sqrt{2}", r"\sqrt{5}")]

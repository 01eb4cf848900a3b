"""Cuts inside formulas leave both halves whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.refine.formulas import split_formula


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("It costs $3 a day", " and $4 a night", ("It costs $3 a day", " and $4 a night")),
        (r"Thus $x^2 + 1", r" and so on$.", (r"Thus $x^2 + 1$", r"$ and so on$.")),
        (r"Thus $x^2 + 1", "$.", (r"Thus $x^2 + 1$", ".")),
        (r"Thus $x^2 + 1", ",$ and", (r"Thus $x^2 + 1,$", " and")),
        (r"Thus $x^2 + 1", "", (r"Thus $x^2 + 1$", "")),
        (r"\[a_1 = 3", r"b\]", (r"\[a_1 = 3\]", r"\[b\]")),
        (
            r"\begin{align*} a &= 1 \\",
            r"b &= 2 \end{align*}",
            (r"\begin{align*} a &= 1 \\\end{align*}", r"\begin{align*}b &= 2 \end{align*}"),
        ),
    ],
)
def test_what_is_open_at_the_cut_is_closed_and_opened_again(before, after, expected):
    assert split_formula(before, after) == expected


formulas = st.sampled_from(["a", " ", "$ x $", r"\[ y \]", r"\begin{align} z \end{align}", r"\( w \)"])


@given(st.lists(formulas), st.integers(0, 60))
def test_halves_of_whole_formulas_are_whole(written, cut):
    atoms = [r"\alpha", *(atom for formula in written for atom in formula.split(" "))]
    before, after = "".join(atoms[:cut]), "".join(atoms[cut:])
    for half in split_formula(before, after):
        assert half.count("$") % 2 == 0
        for opening, closing in ((r"\[", r"\]"), (r"\(", r"\)"), (r"\begin{align}", r"\end{align}")):
            assert half.count(opening) == half.count(closing)

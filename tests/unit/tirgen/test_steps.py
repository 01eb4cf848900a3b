"""How a solution is cut into steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.tirgen import split_steps


@pytest.mark.parametrize(
    ("solution", "steps"),
    [
        ("one\n\n  two  \nthree", ["one", "two", "three"]),
        ("", []),
        ("so\n\\[a\n= 1\\] here\nnext", ["so", "\\[a\n= 1\\] here", "next"]),
        (
            "\\begin{align*}\na &= 1 \\\\\nb\n\\end{align*}\nend",
            ["\\begin{align*}\na &= 1 \\\\\nb\n\\end{align*}", "end"],
        ),
        ("see\n[asy]\ndraw(x);\n[/asy]\nend", ["see", "[asy]\ndraw(x);\n[/asy]", "end"]),
        ("$$x\n$$ and $$y\n$$\nend", ["$$x\n$$ and $$y\n$$", "end"]),
        ("so $x^2 =\n4$ holds\nend", ["so $x^2 =\n4$ holds", "end"]),
        ("it costs $4\nand $5", ["it costs $4", "and $5"]),
        ("\\begin{align*}\nnever closed", ["\\begin{align*}", "never closed"]),
    ],
)
def test_lines_are_steps_and_displays_stay_whole(solution, steps):
    assert split_steps(solution) == steps


@given(st.lists(st.sampled_from(["a", "\n", "\\[", "\\]", "$$", "[asy]", "[/asy]", "\\begin{x}", "\\end{x}", " "])))
def test_nothing_is_lost_or_moved(pieces):
    solution = "".join(pieces)
    lines = [line.strip() for line in solution.splitlines() if line.strip()]
    assert "\n".join(split_steps(solution)).split("\n") == (lines or [""])

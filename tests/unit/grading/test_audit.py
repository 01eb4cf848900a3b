"""Gold answers are examined before anybody is graded by them."""

import pytest

from thor_ray.grading import GraderPool
from thor_ray.grading.audit import GoldStatus, audit_golds, examine


@pytest.mark.parametrize(
    "gold",
    [
        "5",
        r"\frac{1}{2}",
        r"2\sqrt{3}",
        r"(-\infty, 2] \cup \{3\}",
        r"\text{Evelyn}",
        "52_8",
        r"f(x) = x^2 + 1",
        r"y' + ry = 0",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\emptyset",
        r"\sqrt{2} \approx 1.41",
        r"\mathbb{R} \setminus \{0\}",
        r"x \in \mathbb{Z}",
    ],
)
def test_ordinary_golds_are_readable(gold: str) -> None:
    assert examine(gold) == (GoldStatus.READABLE, "")


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("np.arcsin(10/13)", "unreadable"),
        ("t(0,4]", "expected"),
        ("1, 2, \\ldots, n", "ellipsis"),
        (r"\int_0^1 f", "unknown command"),
        ("9^{9^{9^{9}}}", "too large"),
    ],
)
def test_golds_that_are_no_mathematics_are_compared_as_text(gold: str, reason: str) -> None:
    status, why = examine(gold)
    assert status is GoldStatus.TEXT_ONLY
    assert reason in why


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("", "empty"),
        ("$$", "empty"),
        (r"\frac{1}{2", "brackets"),
        ("1/0", "division by zero"),
        ("x" * 3000, "longer"),
        ("5\u200b", "invisible"),
    ],
)
def test_golds_that_nothing_can_equal_are_unusable(gold: str, reason: str) -> None:
    status, why = examine(gold)
    assert status is GoldStatus.UNUSABLE
    assert reason in why


def test_the_audit_keeps_order_and_ids(pool: GraderPool) -> None:
    findings = list(audit_golds([("a", "5"), ("b", "1/0"), ("c", r"\mho")], pool))
    assert [(finding.id, finding.status) for finding in findings] == [
        ("a", GoldStatus.READABLE),
        ("b", GoldStatus.UNUSABLE),
        ("c", GoldStatus.TEXT_ONLY),
    ]

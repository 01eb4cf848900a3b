"""RL with and without the step level, at equal rounds."""

from thor_ray.study.results import CurvePoint, Origin, SeedResult
from thor_ray.study.rounds import rounds_section

TOKENS = 100


def result(seed: int, **rewards: list[float | None]) -> SeedResult:
    curves = {
        run.replace("_", "-"): tuple(
            CurvePoint(TOKENS * (number + 1), reward, None if reward is None else 1 - reward)
            for number, reward in enumerate(values)
        )
        for run, values in rewards.items()
    }
    return SeedResult(seed, Origin((), "", {}), {}, curves, {})


def test_halves_of_the_rounds_that_both_have_made_are_paired_by_seed():
    results = [
        result(0, episode_rl=[0.1, 0.2, 0.2, 0.4, 0.4, 0.9], hierarchical_rl=[0.1, 0.3, 0.3, 0.6, 0.6]),
        result(1, episode_rl=[0.0, 0.2, 0.2, 0.4, 0.4, 0.9], hierarchical_rl=[0.0, 0.1, 0.1, 0.6, 0.6]),
        result(2, episode_rl=[0.0, 0.5, 0.5]),
    ]
    (section,) = rounds_section(results)
    reward, failing = section.tables
    assert [row.cells[:4] for row in reward.rows] == [("2–3", "20.0", "20.0", "+0.0"), ("4–5", "40.0", "60.0", "+20.0")]
    assert reward.rows[0].cells[4] == "−127.1 to +127.1", "Student's interval over two seeds"
    assert [row.cells[:4] for row in failing.rows] == [
        ("2–3", "80.0", "80.0", "+0.0"),
        ("4–5", "60.0", "40.0", "−20.0"),
    ]


def test_the_price_of_the_rounds_is_told():
    dear = tuple(CurvePoint(115 * (number + 1), 0.5, 0.5) for number in range(4))
    one = result(0, episode_rl=[0.5] * 4, hierarchical_rl=[0.5] * 4)
    (section,) = rounds_section([SeedResult(0, one.origin, {}, {**one.curves, "hierarchical-rl": dear}, {})])
    assert "460 tokens in 4 rounds where T4 has 400, 15 % more" in section.notes[0]


def test_rounds_without_a_figure_are_left_out():
    """No program ran in a round, or no episode was judged."""
    (section,) = rounds_section([result(0, episode_rl=[0.1, None, 0.2, 0.4], hierarchical_rl=[0.1, None, 0.3, 0.5])])
    assert [row.cells[:4] for row in section.tables[0].rows] == [("2", "–", "–", "–"), ("3–4", "30.0", "40.0", "+10.0")]


def test_there_is_nothing_to_compare_with_one_run_or_too_few_rounds():
    assert list(rounds_section([result(0, episode_rl=[0.1, 0.2, 0.3])])) == []
    assert list(rounds_section([result(0, episode_rl=[0.1, 0.2], hierarchical_rl=[0.1, 0.2])])) == []
    assert list(rounds_section([])) == []


def test_three_rounds_are_enough():
    (section,) = rounds_section([result(0, episode_rl=[0.1, 0.2, 0.3], hierarchical_rl=[0.1, 0.2, 0.4])])
    assert [row.cells[:4] for row in section.tables[0].rows] == [
        ("2", "20.0", "20.0", "+0.0"),
        ("3", "30.0", "40.0", "+10.0"),
    ]

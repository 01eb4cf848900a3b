"""A funnel accounts for every demonstration."""

import dataclasses
import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from thor_ray.demonstrations import Demonstration, DemonstrationWriter, Rule, Sieve, Source
from thor_ray.demonstrations.funnel import EXAMPLES


def numbered(number: int) -> Demonstration:
    writer = DemonstrationWriter(f"t{number:03}", "p", [1], lambda text: [1] * len(text), 0)
    trajectory = dataclasses.replace(writer.finish(), answer=str(number))
    return Demonstration(trajectory, Source.GENERATOR, "", ())


def not_divisible_by(divisor: int) -> Rule[Demonstration]:
    def judge(demonstrations):
        return [
            f"divisible by {divisor}" if int(each.trajectory.answer) % divisor == 0 else None for each in demonstrations
        ]

    return Rule(f"not_divisible_by_{divisor}", judge, {"divisor": divisor})


RULES = [not_divisible_by(2), not_divisible_by(3), not_divisible_by(5)]


@given(st.lists(st.integers(0, 500), unique=True, max_size=60), st.integers(1, 7))
def test_what_enters_is_kept_or_rejected_by_exactly_one_rule(numbers, size):
    sieve = Sieve(RULES)
    kept = []
    for start in range(0, len(numbers), size):
        kept += sieve.sift([numbered(number) for number in numbers[start : start + size]])
    funnel = sieve.funnel()
    assert [int(each.trajectory.answer or "") for each in kept] == [n for n in numbers if n % 2 and n % 3 and n % 5]
    assert funnel.entered == len(numbers)
    assert funnel.kept == len(kept)
    assert funnel.entered - sum(outcome.rejected for outcome in funnel.outcomes) == funnel.kept
    for before, after in zip(funnel.outcomes, funnel.outcomes[1:], strict=False):
        assert after.entered == before.entered - before.rejected


def test_the_report_does_not_depend_on_the_order_of_arrival():
    reports = []
    for seed in range(3):
        sieve = Sieve(RULES)
        for number in Random(seed).sample(range(40), 40):
            sieve.sift([numbered(number)])
        reports.append(json.dumps(sieve.funnel().to_json()))
    assert len(set(reports)) == 1
    first_rule = json.loads(reports[0])["rules"][0]
    assert first_rule["rejected"] == 20
    assert first_rule["parameters"] == {"divisor": 2}
    assert [example["trajectory"] for example in first_rule["examples"]] == ["t000", "t002", "t004"][:EXAMPLES]

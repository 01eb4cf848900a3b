"""Tables of what filters took out."""

from thor_ray.demonstrations import Funnel, RuleOutcome
from thor_ray.tirgen import funnel_table


def test_each_reason_has_its_count_and_an_example():
    boxed = RuleOutcome("boxed", {}, 9, {"empty box": 1, "no box": 3}, (("t1", "no box"), ("t2", "no box")))
    correct = RuleOutcome("answer_correct", {}, 5, {}, ())
    assert funnel_table(Funnel(9, 5, (boxed, correct))) == [
        ("boxed", "9", "4", "empty box 1\nno box 3, t1"),
        ("answer_correct", "5", "0", ""),
    ]

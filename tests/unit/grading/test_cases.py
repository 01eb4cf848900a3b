"""Files of cases: every line gets a verdict, in order, whatever is in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thor_ray.grading import GraderPool
from thor_ray.grading.cases import BATCH, CaseError, PredictionKind, grade_lines, parse_case, read_golds

RESPONSE, ANSWER = PredictionKind.RESPONSE, PredictionKind.ANSWER


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_a_line_says_what_its_prediction_is_or_the_caller_does() -> None:
    assert parse_case(line(id="a", gold="5", prediction="5"), ANSWER).kind is ANSWER
    assert parse_case(line(id="a", gold="5", prediction="5", kind="response"), ANSWER).kind is RESPONSE
    assert parse_case(line(id=7, gold=5, prediction=5.5), ANSWER).prediction == "5.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'"5"', "not a JSON object"),
        (b'{"id": NaN, "gold": "5", "prediction": "5"}', "not JSON"),
        (b'{"id": {}, "gold": "5", "prediction": "5"}', "'id' must be"),
        (b'{"id": 1e999, "gold": "5", "prediction": "5"}', "'id' must be"),
        (b'{"gold": "5"}', "'prediction' is missing"),
        (b'{"prediction": "5"}', "'gold' is missing"),
        (b'{"gold": null, "prediction": "5"}', "'gold' must be text"),
        (b'{"gold": "5", "prediction": ["5"]}', "'prediction' must be text"),
        (b'{"gold": "5", "prediction": true}', "'prediction' must be text"),
        (b'{"gold": "5", "prediction": "5", "kind": "essay"}', "'kind' must be"),
        (b'{"gold": "5", "prediction": "5", "kind": []}', "'kind' must be"),
        (b"[" * 100_000, "not JSON"),
        (b'{"gold": ' + b"9" * 5000 + b', "prediction": "5"}', "not JSON"),
    ],
)
def test_what_is_no_case_says_why(text: bytes, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        parse_case(text, ANSWER)


def test_every_line_gets_its_verdict_in_order(pool: GraderPool) -> None:
    lines = [
        line(id=0, gold="5", prediction=r"so \\boxed{5}".replace("\\\\", "\\")),
        b"\n",
        b"nonsense",
        line(id=2, gold=r"2\sqrt{3}", prediction=r"\sqrt{12}", kind="answer"),
        line(id=3, gold="5", prediction="five"),
        line(id=4, gold="5", prediction="\ud800", kind="answer"),
        line(id=5, gold="5"),
        *(line(id=index, gold=str(index), prediction=str(index), kind="answer") for index in range(6, 6 + 2 * BATCH)),
    ]
    verdicts = list(grade_lines(lines, pool, RESPONSE))
    assert [verdict.id for verdict in verdicts] == [0, None, 2, 3, 4, 5, *range(6, 6 + 2 * BATCH)]
    assert [verdict.status for verdict in verdicts[:6]] == [
        "correct", "error", "correct", "no_box", "unparsable", "error",
    ]  # fmt: skip
    assert {verdict.status for verdict in verdicts[6:]} == {"correct"}
    assert verdicts[1].reason.startswith("line 3: not JSON")
    for verdict in verdicts:
        record = json.loads(verdict.to_json())
        assert list(record) == ["id", "status", "reason", "path", "extracted", "milliseconds"]
        verdict.to_json().encode("ascii")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "gold", "prediction", "kind"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.lists(st.one_of(st.binary(max_size=30), json_values.map(lambda value: json.dumps(value).encode())), max_size=5)
)
def test_no_line_stops_the_work(pool: GraderPool, lines: list[bytes]) -> None:
    assert len(list(grade_lines(lines, pool, ANSWER))) == sum(1 for text in lines if text.strip())


def test_golds_are_read_from_problems_and_from_cases() -> None:
    lines = [line(id="a", answer="5"), line(gold=7), b"", b"nonsense", line(id="b")]
    golds, faults = read_golds(lines)
    assert golds == [("a", "5"), ("line 2", "7")]
    assert [fault.partition(":")[0] for fault in faults] == ["line 4", "line 5"]

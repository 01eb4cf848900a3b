"""The refiner on a language model, over HTTP to a server that follows a script: every outcome has a name, nothing is lost."""

import contextlib
import io
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.support.scripted_chat import Act, Break, Drip, Hang, Raw, Refuse, Say, scripted
from thor_ray.async_endpoints import AsyncJsonEndpoint
from thor_ray.endpoints import EndpointLostError
from thor_ray.refine import LLMRefiner, Refinement, Surroundings, Verdict
from thor_ray.refine.chat import ChatSampling, EndpointChatModel
from thor_ray.refine.prompt_set import PROMPT_VERSIONS, STEPS_VIEWS, load_prompts
from thor_ray.refine.revision_checks import RevisionChecks
from thor_ray.retries import RetryPolicy
from thor_ray.trajectory import ExecutionResult, ExecutionStatus

STEP = "There are 12 rows of 7 seats, so there are 12 * 7 = 84 seats. Of these 84 seats 20 are taken, so 84 - 20 = 64 are free. Now to prices."
FIRST = "There are 12 rows of 7 seats, so the number of seats is\n```python\nprint(12 * 7)\n```\n"
SECOND = "Of these 84 seats 20 are taken, so the number of free ones is\n```python\nprint(84 - 20)\n```\n"


def output(text: str) -> str:
    return f"```output\n{text}\n```\n"


def revision(*parts: str) -> Say:
    return Say(f"<revision>\n{''.join(parts)}</revision>")


async def run_here(code: str, seed: int) -> ExecutionResult:
    """Runs the script's own programs, which are trusted."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, {})
    except ZeroDivisionError as error:
        return ExecutionResult(ExecutionStatus.EXCEPTION, f"ZeroDivisionError: {error}", "ZeroDivisionError")
    text = printed.getvalue().strip()
    if text == "sandbox down":
        return ExecutionResult(ExecutionStatus.INFRA_ERROR, "The program could not be run.")
    return ExecutionResult(ExecutionStatus.OK if text else ExecutionStatus.NO_OUTPUT, text)


def refiner_at(url: str, **endpoint_options: object) -> tuple[LLMRefiner, AsyncJsonEndpoint]:
    options = {"timeout_seconds": 20.0, "retries": RetryPolicy(3, 0.01, 0.5), "give_up_after": 100} | endpoint_options
    endpoint = AsyncJsonEndpoint(url, **options)  # type: ignore[arg-type]
    model = EndpointChatModel(endpoint, "scripted", ChatSampling(max_tokens=64), {"chat_template_kwargs": {"x": 1}})
    return LLMRefiner(model, run_here, load_prompts("v1"), RevisionChecks()), endpoint


async def refine(
    *script: Act, step: str = STEP, rounds: int = 5, **options: object
) -> tuple[Refinement, list[dict[str, Any]]]:
    with scripted(*script) as server:
        refiner, endpoint = refiner_at(server.url, **options)
        try:
            return await replace(refiner, rounds=rounds).refine(step, seed=3), server.requests
        finally:
            await endpoint.aclose()


async def test_programs_run_and_their_outputs_replace_the_predictions():
    refined, requests = await refine(revision(FIRST, output("84"), SECOND, output("64"), "Now to prices."))
    assert refined.verdict is Verdict.CODABLE
    assert [passage.code for passage in refined.passages] == ["print(12 * 7)", "print(84 - 20)"]
    assert [passage.result.text for passage in refined.passages] == ["84", "64"]
    assert [passage.predicted for passage in refined.passages] == ["84", "64"]
    assert refined.passages[0].reasoning == "There are 12 rows of 7 seats, so the number of seats is\n"
    assert refined.conclusion == "Now to prices."
    assert len(requests) == 1, "what stands behind a right prediction needs no second request"
    assert (refined.usage.calls, refined.usage.prompt_tokens, refined.usage.completion_tokens) == (1, 11, 7)
    assert refined.usage.seconds > 0
    assert refined.origin == load_prompts("v1").origin


async def test_what_stands_behind_a_wrong_prediction_is_written_anew_from_the_true_output():
    refined, requests = await refine(
        revision(FIRST, output("83"), SECOND.replace("84", "83"), output("63"), "Hence 63."),
        Say(f"{SECOND}{output('64')}</revision>"),
    )
    assert refined.verdict is Verdict.CODABLE
    assert [(passage.predicted, passage.result.text) for passage in refined.passages] == [("83", "84"), ("64", "64")]
    assert "63" not in json.dumps([passage.code for passage in refined.passages]) + refined.conclusion
    asked_again = requests[1]["messages"]
    assert [turn["role"] for turn in asked_again] == ["system", "user", "assistant", "user"]
    assert asked_again[2]["content"].endswith("print(12 * 7)\n```\n"), "the prediction and all behind it are taken back"
    assert "\n84\n" in asked_again[3]["content"]
    assert refined.usage.calls == 2


async def test_two_blocks_without_outputs_run_one_after_the_other():
    refined, requests = await refine(revision(FIRST, SECOND), Say(f"{SECOND}</revision>"))
    assert [passage.result.text for passage in refined.passages] == ["84", "64"]
    assert len(requests) == 2, "what was written without knowing the first output is asked for again"


@pytest.mark.parametrize(
    ("script", "verdict", "reason"),
    [
        (Say("KEEP"), Verdict.NO_CODE, "no program"),
        (revision(STEP), Verdict.NO_CODE, "no program"),
        (Say("Sure! The answer is 64."), Verdict.MALFORMED, "neither KEEP nor"),
        (revision("```python\nprint(1)\n"), Verdict.MALFORMED, "not closed"),
        (Say("<revision>\n" + "1 " * 500, "length"), Verdict.ENDLESS, "tokens"),
        (revision(FIRST.replace("12 * 7", "12 / 0"), "x"), Verdict.CODE_FAILED, "ZeroDivisionError"),
        (revision(FIRST.replace("print(12 * 7)", "a = 12 * 7"), "x"), Verdict.CODE_FAILED, "no_output"),
        (revision(FIRST.replace("12 * 7", "84"), output("84")), Verdict.NO_COMPUTATION, "print"),
        (revision(FIRST.replace("12 * 7", "'sandbox ' + 'down'")), Verdict.SANDBOX_FAILED, "could not be run"),
        (revision("We argue otherwise.\n", FIRST.split("\n", 1)[1]), Verdict.REASONING_CHANGED, "words"),
        (revision(FIRST.replace("12 * 7", "12 * 7 + 4321")), Verdict.NEW_NUMBERS, "4321"),
        (revision(FIRST.replace("rows", "rows for Bert"), SECOND), Verdict.TOO_MANY_ROUNDS, "more than 1"),
        (Raw(b"<html>"), Verdict.BAD_REPLY, "no JSON"),
        (Raw(b'{"choices": []}'), Verdict.BAD_REPLY, "no completion"),
        (Refuse(400), Verdict.REFUSED, "answers 400"),
        (Refuse(401), Verdict.REFUSED, "answers 401"),
        (Break(), Verdict.UNREACHABLE, "cannot be reached"),
    ],
)
async def test_every_outcome_has_a_name_and_leaves_the_step_as_it_is(script, verdict, reason):
    refined, _ = await refine(script, rounds=1)
    assert refined.verdict is verdict
    assert refined.reasoning == STEP
    assert not refined.passages
    assert reason in refined.reason
    assert refined.origin.startswith("v1@")
    assert refined.usage.calls >= 1


@pytest.mark.parametrize("silent", [Hang(), Drip()])
async def test_a_server_that_never_ends_its_answer_is_left_in_time(silent):
    refined, requests = await refine(silent, timeout_seconds=0.2)
    assert refined.verdict is Verdict.TIMED_OUT
    assert len(requests) <= 3


async def test_a_busy_server_is_asked_again_after_the_wait_that_it_asks_for():
    started = time.monotonic()
    refined, requests = await refine(
        Refuse(429, {"Retry-After": "0.3"}),
        Refuse(503),
        Break(),
        revision(FIRST),
        retries=RetryPolicy(4, 0.01, 0.5),
    )
    assert refined.verdict is Verdict.CODABLE
    assert len(requests) == 4
    assert time.monotonic() - started >= 0.3


async def test_a_server_that_stays_busy_has_a_name_and_so_has_one_that_asks_for_too_long_a_wait():
    refined, requests = await refine(Refuse(429))
    assert (refined.verdict, len(requests)) == (Verdict.RATE_LIMITED, 3)
    refined, requests = await refine(Refuse(429, {"Retry-After": "3600"}))
    assert (refined.verdict, len(requests)) == (Verdict.RATE_LIMITED, 1)


async def test_an_endpoint_that_dies_in_the_midst_ends_the_run_after_so_many_failures():
    with scripted(revision(FIRST)) as server:
        refiner, endpoint = refiner_at(server.url, give_up_after=2)
        before = await refiner.refine(STEP, 0)
    dying = await refiner.refine(STEP, 1)
    with pytest.raises(EndpointLostError, match="2 times in a row") as caught:
        await refiner.refine(STEP, 2)
    await endpoint.aclose()
    assert (before.verdict, dying.verdict) == (Verdict.CODABLE, Verdict.UNREACHABLE)
    assert dying.reasoning == STEP
    assert "--resume" in caught.value.remedy


async def test_a_success_in_between_forgives_failures():
    with scripted(Break(), revision(FIRST), Break(), revision(FIRST)) as server:
        refiner, endpoint = refiner_at(server.url, give_up_after=2, retries=RetryPolicy(tries=1))
        verdicts = [(await refiner.refine(STEP, seed)).verdict for seed in range(4)]
        await endpoint.aclose()
    assert verdicts == [Verdict.UNREACHABLE, Verdict.CODABLE] * 2


async def test_requests_carry_sampling_seed_and_extras_and_show_the_step_alone():
    _, requests = await refine(Say("KEEP"))
    (asked,) = requests
    assert asked["path"] == "/v1/chat/completions"
    assert (asked["model"], asked["max_tokens"], asked["seed"], asked["temperature"]) == ("scripted", 64, 3, 0.6)
    assert (asked["top_k"], asked["top_p"], asked["chat_template_kwargs"]) == (50, 1.0, {"x": 1})
    assert asked["messages"][1]["content"] == f"Fragment:\n{STEP}"


@pytest.mark.parametrize(("view", "shown"), zip(STEPS_VIEWS, [(), ("{question}",), ("{question}", "{x}")], strict=True))
async def test_a_view_shows_what_it_says_and_nothing_else(view, shown):
    surroundings = Surroundings("What is {question}?", "So far {x}.")
    with scripted(Say("KEEP")) as server:
        refiner, endpoint = refiner_at(server.url)
        await replace(refiner, view=view).amid(surroundings).refine("a {step}", 0)
        await endpoint.aclose()
    request = server.requests[0]["messages"][1]["content"]
    assert [mark for mark in ("{question}", "{x}", "{step}") if mark in request] == [*shown, "{step}"]


def test_prompts_are_known_by_version_and_words():
    assert PROMPT_VERSIONS == ("v1",)
    prompts = load_prompts("v1")
    assert replace(prompts, texts={**prompts.texts, "system": "Solve it."}).origin != prompts.origin
    assert "KEEP" in prompts.system
    assert all(view in prompts.texts for view in STEPS_VIEWS)
    with pytest.raises(KeyError):
        load_prompts("v0")

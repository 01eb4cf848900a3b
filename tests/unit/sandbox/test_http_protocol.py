"""SandboxFusion's words: what its clients send is understood, what they read is there."""

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.http.protocol import CommandRunStatus, RunCodeRequest, RunStatus, refusal, reply
from sandbox.result import Status
from tests.support.executions import result


def test_what_verl_sends_is_understood():
    """verl/utils/reward_score/sandbox_fusion/utils.py, call_sandbox_api."""
    sent = {
        "compile_timeout": 10,
        "run_timeout": 10,
        "code": "print(input())",
        "stdin": "3 4\n",
        "memory_limit_MB": 1024,
        "language": "python",
        "files": {},
        "fetch_files": [],
    }
    body = RunCodeRequest.model_validate_json(json.dumps(sent))
    assert (body.code, body.run_timeout, body.input_bytes) == ("print(input())", 10.0, b"3 4\n")
    assert (body.contents, body.fetch_files) == ({}, [])


@pytest.mark.parametrize(
    "sent",
    [
        {"code": "print(1)", "language": "python", "run_timeout": 30, "compile_timeout": 30},  # THOR's scripts
        {"code": "print(1)"},  # verl's tutorial
        {"code": "print(1)", "stdin": None, "language": "python", "files": {"a": None}, "args": []},  # its own client
        {
            "code": "print(1)",
            "stdin": "",
            "language": "python",
            "compile_timeout": 1.0,
            "run_timeout": 3.0,
        },  # SimpleTIR
    ],
)
def test_what_others_send_is_understood(sent):
    body = RunCodeRequest.model_validate_json(json.dumps(sent))
    assert (body.input_bytes, body.contents) == (b"", {})


def test_files_come_in_base64():
    sent = {"code": "", "files": {"dir/a.bin": b64encode(b"\x00\xff").decode(), "none": None}}
    assert RunCodeRequest.model_validate(sent).contents == {"dir/a.bin": b"\x00\xff"}


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"language": "cpp"}, "python"),
        ({"language": "pytest"}, "python"),
        ({"run_timeout": 0}, "greater than 0"),
        ({"run_timeout": 60.5}, "less than or equal to 60"),
        ({"run_timeout": float("nan")}, "less than or equal to 60"),
        ({"code": None}, "string"),
        ({"files": {"a": "not base64"}}, "ase64"),
    ],
)
def test_what_cannot_be_done_is_refused(fault, word):
    with pytest.raises(ValidationError, match=word):
        RunCodeRequest.model_validate({"code": "", **fault})


def test_a_program_without_an_error_is_a_success():
    answered = reply(result())
    assert (answered.status, answered.message, answered.compile_result) == (RunStatus.SUCCESS, "", None)
    run = answered.run_result
    assert run is not None
    assert run.model_dump() == {
        "status": CommandRunStatus.FINISHED,
        "execution_time": 0.0125,
        "return_code": 0,
        "stdout": "42\n",
        "stderr": "",
    }


def test_a_program_that_ran_out_of_time_has_no_code():
    answered = reply(result(status=Status.TIMEOUT, exit_code=None, signal=9))
    assert answered.status is RunStatus.FAILED
    assert answered.run_result is not None
    assert answered.run_result.status is CommandRunStatus.TIME_LIMIT_EXCEEDED
    assert answered.run_result.return_code is None
    assert answered.run_result.stdout == "42\n"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"status": Status.RUNTIME_ERROR, "exit_code": 1}, 1, ""),
        ({"status": Status.EXIT, "exit_code": 7}, 7, ""),
        ({"status": Status.SYNTAX_ERROR, "exit_code": None}, 1, ""),  # too long, so it was never started
        ({"status": Status.CRASH, "exit_code": None, "signal": 11}, -11, "crash"),
        ({"status": Status.OUTPUT_LIMIT, "exit_code": None, "signal": 9}, -9, "output_limit"),
        ({"status": Status.MEMORY_LIMIT, "exit_code": 1}, 1, "memory_limit"),
    ],
)
def test_other_ends_are_failures(changes, code, message):
    answered = reply(result(**changes))
    assert (answered.status, answered.message) == (RunStatus.FAILED, message)
    assert answered.run_result is not None
    assert (answered.run_result.status, answered.run_result.return_code) == (CommandRunStatus.FINISHED, code)


@pytest.mark.parametrize("status", [Status.SANDBOX_ERROR, Status.CANCELLED])
def test_our_own_faults_say_nothing_about_the_program(status):
    answered = reply(result(status=status, exc_message="the worker died", exit_code=None))
    assert (answered.status, answered.message) == (RunStatus.SANDBOX_ERROR, "the worker died")
    assert answered.run_result is not None
    assert answered.run_result.status is CommandRunStatus.ERROR
    assert answered.run_result.return_code is None
    assert answered.run_result.stdout == ""


def test_what_was_fetched_comes_in_base64_and_the_rest_is_named():
    answered = reply(result(files={"a": b"\x00\xff"}, files_refused={"b": "not a regular file"}))
    assert b64decode(answered.files["a"]) == b"\x00\xff"
    assert answered.message == "not fetched: b (not a regular file)"
    assert answered.status is RunStatus.SUCCESS


def test_a_refusal_has_the_shape_of_a_reply():
    assert refusal("no").model_dump(mode="json") == {
        "status": "SandboxError",
        "message": "no",
        "compile_result": None,
        "run_result": None,
        "executor_pod_name": None,
        "files": {},
    }


@given(
    status=st.sampled_from(Status),
    exit_code=st.one_of(st.none(), st.integers(0, 255)),
    number=st.one_of(st.none(), st.integers(1, 64)),
)
def test_a_reply_never_contradicts_itself(status, exit_code, number):
    """0 is the code of a program that ended well and of no other; clients may add up the streams."""
    if status is Status.OK:
        exit_code, number = 0, None
    elif exit_code == 0:
        exit_code = 1
    answered = reply(result(status=status, exit_code=exit_code, signal=number))
    run = answered.run_result
    assert run is not None
    assert run.stdout is not None
    assert run.stderr is not None
    assert (answered.status is RunStatus.SUCCESS) == (status is Status.OK) == (run.return_code == 0)
    assert json.loads(answered.model_dump_json())["status"] in ("Success", "Failed", "SandboxError")

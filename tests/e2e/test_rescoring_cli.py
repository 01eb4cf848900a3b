"""``thor eval score`` and ``thor eval judge`` as a person uses them, with a real server and a real classifier."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

from tests.support import commands
from tests.support.model_server import RunningServer, running_server
from tests.support.runs import TOKENIZER, write_run
from thor_ray.evaluation.figures import EvaluationReport
from thor_ray.evaluation.store import read_samples

EVALUATION = "smoke:evaluate_rl"

thor = partial(commands.thor, columns=160)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    write_run(tmp_path / "runs" / "smoke")
    return tmp_path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path / "requests.jsonl") as running:
        yield running


def test_a_server_scores_what_has_no_score_yet(work: Path, server: RunningServer) -> None:
    arguments = ("eval", "score", EVALUATION, "--endpoint", f"{server.url}/v1", "--model", "rm", "--output", "scored")
    done = thor(work, *arguments)
    assert done.returncode == 0, done.stderr
    assert "scoring: done" in done.stdout
    rows = read_samples(work / "scored/samples.jsonl")
    assert len(rows) == len(server.requests) == 24
    assert {row.scored_by for row in rows} == {"rm"}
    assert all(row.external_score for row in rows)
    assert {request["body"]["messages"][0]["content"] for request in server.requests} == {
        "Find the greatest common divisor of 36 and 108."
    }
    # Half of the scores get lost, as after a kill: only those are asked for again.
    lines = (work / "scored/samples.jsonl").read_text().splitlines()
    (work / "scored/samples.jsonl").write_text("\n".join(lines[: 24 + 12]) + "\n")
    assert thor(work, *arguments).returncode == 0
    assert len(server.requests) == 24 + 12
    assert read_samples(work / "scored/samples.jsonl") == rows
    refused = thor(work, *arguments[:6], "other", *arguments[7:])
    assert refused.returncode == 2
    assert "opinions of rm, not other" in refused.stderr


def test_a_classifier_scores_them_too(work: Path) -> None:
    model = work / "classifier"
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=256, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512, num_labels=1, pad_token_id=255,
    )  # fmt: skip
    Qwen3ForSequenceClassification(config).save_pretrained(model)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(TOKENIZER.to_str())).save_pretrained(model)
    done = thor(work, "eval", "score", EVALUATION, "--reward-model", str(model), "--output", "scored")
    assert done.returncode == 0, done.stderr
    assert len({row.external_score for row in read_samples(work / "scored/samples.jsonl")}) > 1


def test_a_judges_verdicts_stand_beside_those_of_the_rules(work: Path, server: RunningServer) -> None:
    arguments = ("eval", "judge", EVALUATION, "--endpoint", f"{server.url}/v1", "--model", "qwen", "--output", "judged")
    done = thor(work, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Second opinion" in done.stdout
    [part] = EvaluationReport.model_validate_json((work / "judged/report.json").read_text()).benchmarks
    assert part.judge is not None
    assert (part.judge.judges, part.judge.asked, part.judge.refused) == (["qwen"], 5, 5)
    assert part.accuracy.value == part.judge.accuracy.value == 19 / 24
    assert json.loads(server.requests[0]["body"]["messages"][1]["content"]) == {
        "problem": "Find the greatest common divisor of 36 and 108.",
        "reference": "36",
        "candidate": "18",
    }
    assert thor(work, *arguments).returncode == 0
    assert len(server.requests) == 5, "nothing is asked twice"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("score", EVALUATION), "a reward model is needed"),
        (("score", EVALUATION, "--endpoint", "http://127.0.0.1:1"), "needs the name of a model"),
        (("score", EVALUATION, "--endpoint", "localhost:1", "--model", "rm"), "must begin with http"),
        (("score", EVALUATION, "--endpoint", "http://127.0.0.1:1", "--model", "rm"), "no file of rows"),
        (
            ("judge", EVALUATION, "--endpoint", "http://127.0.0.1:1", "--model", "rm", "--output", "new"),
            "http://127.0.0.1:1/chat/completions cannot be reached",
        ),
        (("judge", "absent", "--endpoint", "http://127.0.0.1:1", "--model", "rm"), "no evaluation 'absent'"),
    ],
)
def test_what_cannot_be_done_is_refused(work: Path, arguments: tuple[str, ...], words: str) -> None:
    done = thor(work, "eval", *arguments)
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr

"""``thor problems`` and ``thor config prompts``: what they print, what they write, and how they end."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

import thor_ray.cli.app as cli
from actors.codec import TokenizerCodec
from thor_ray.cli.configuration import visible
from thor_ray.dialogue import PROMPT_TEMPLATES, prompt_frame
from thor_ray.problems import BENCHMARKS, load_problems
from thor_ray.prompt_record import record_prompt
from thor_ray.tiny import base_model_path

SETTING = "Two dice with faces numbered one to six are rolled and the sum of the numbers shown is written down"


@pytest.fixture
def thor(capsys, monkeypatch):
    """Runs a verb in this process: exit code, standard output, standard error."""
    monkeypatch.delenv("THOR_DATA", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main([str(argument) for argument in arguments])
        finally:
            signal.signal(signal.SIGTERM, handler)
        out = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.out, out.err

    return run


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def aime(folder: Path, rows: int) -> Path:
    return write(folder / "aime2024.jsonl", *({"problem": f"p{row}", "answer": row} for row in range(rows)))


def test_the_list_names_every_benchmark_and_where_its_file_lies(thor, tmp_path):
    code, out, _ = thor("problems", "list")
    assert code == 0
    assert all(benchmark.name in out for benchmark in BENCHMARKS)
    assert "give --data-dir, or set THOR_DATA" in out
    path = aime(tmp_path, rows=30)
    code, out, _ = thor("problems", "list", "--data-dir", tmp_path)
    assert code == 0
    assert str(path) in out
    assert f"looked in {tmp_path}" in out


def test_a_file_of_the_wrong_size_is_called_out_and_ends_with_code_1(thor, tmp_path):
    path = aime(tmp_path, rows=29)
    code, out, _ = thor("problems", "list", "--data-dir", tmp_path)
    assert code == 1
    assert f"WRONG SIZE: 29 of 30 problems in {path}" in out
    path.write_bytes(b"\xff\xfe\x00")
    code, out, _ = thor("problems", "list", "--data-dir", tmp_path)
    assert code == 1
    assert "not UTF-8" in out


def test_the_registry_can_be_read_by_programs(thor, tmp_path):
    aime(tmp_path, rows=30)
    code, out, _ = thor("problems", "list", "--json", "--data-dir", tmp_path)
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert entries["aime2024"]["found"] == 30
    assert entries["math500"]["file"] is None
    assert "2103.03874" in entries["math500"]["citation"]
    assert "1%" in entries["minerva_math"]["grading"]


def test_a_benchmark_and_a_problem_can_be_shown(thor, tmp_path):
    code, out, _ = thor("problems", "show", "OlympiadBench")
    assert code == 0
    assert "arXiv:2402.14008" in out
    assert "olympiadbench-2713 is in the test set of MATH" in out
    path = write(tmp_path / "own.jsonl", {"text": "1 [bold] 1?", "gold": 2, "level": 3})
    fields = ("--question-field", "text", "--answer-field", "gold")
    code, out, _ = thor("problems", "show", path, *fields)
    assert "1 problems" in out
    code, out, _ = thor("problems", "show", path, "--index", "0", *fields)
    assert code == 0
    assert out.split() == "id own-1 source own level 3 question 1 [bold] 1? answer 2".split()


def test_a_problem_that_is_not_there_is_refused(thor, tmp_path):
    path = write(tmp_path / "own.jsonl", {"problem": "p", "answer": 1})
    code, _, err = thor("problems", "show", path, "--index", "1")
    assert code == 2
    assert "has 1 problems, so there is no --index 1" in err
    code, _, err = thor("problems", "show", "math500", "--index", "0")
    assert code == 2
    assert "no file of benchmark math500 is known" in err


@pytest.fixture
def leaky(tmp_path: Path) -> tuple[Path, Path]:
    train = write(
        tmp_path / "train.jsonl",
        {"problem": f"In a game, {SETTING}. Which sum is likeliest?", "answer": 7, "license": "MIT"},
        {"id": "kept", "question": "What is 1 + 1?", "answer": "2", "license": "CC0", "tags": ["é"]},
        {"question": "What is 2 + 2?", "answer": "4"},
    )
    return train, write(tmp_path / "test.jsonl", {"problem": f"{SETTING}.", "answer": 1})


def test_contaminated_data_ends_with_code_1_until_it_is_cleaned(thor, leaky, tmp_path):
    train, test = leaky
    code, out, _ = thor("problems", "decontaminate", train, "--against", test)
    assert code == 1
    assert f"train-1 = {test}: test-1 (100% of its n-grams) two dice with faces" in out
    assert "1 of 3 training rows (33.33%) hold a test problem" in out
    clean, report = tmp_path / "clean.jsonl", tmp_path / "report.json"
    arguments = ("--against", f"{test}, {test}", "--output", clean, "--report", report)
    code, out, _ = thor("problems", "decontaminate", train, *arguments)
    assert code == 0
    rows = [json.loads(line) for line in clean.read_text().splitlines()]
    assert rows[0] == {"id": "kept", "question": "What is 1 + 1?", "answer": "2", "license": "CC0", "tags": ["é"]}
    assert [problem.id for problem in load_problems(clean)] == ["kept", "train-3"]
    (pair,) = json.loads(report.read_text())["overlaps"]
    assert pair["passages"] == [SETTING.lower()]
    assert thor("problems", "decontaminate", clean, "--against", test)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{train}"], "is the training data itself"),
        (["--output", "/nowhere/clean.jsonl"], "there is no directory /nowhere"),
        (["--min-share", "0"], "min_share must be above 0"),
        (["--against", " , "], "--against names no test set"),
        (["--against", "math500"], "no file of benchmark math500"),
    ],
)
def test_decontamination_refuses_what_it_cannot_do_before_it_begins(thor, leaky, arguments, message):
    train, test = leaky
    before = train.read_bytes()
    given = [argument.format(train=train) for argument in arguments]
    if "--against" not in given:
        given += ["--against", str(test)]
    code, _, err = thor("problems", "decontaminate", train, *given)
    assert code == 2
    assert message in err
    assert train.read_bytes() == before


def test_templates_are_printed_with_their_purpose(thor):
    code, out, _ = thor("config", "prompts")
    assert code == 0
    for name, template in PROMPT_TEMPLATES.items():
        assert f"--- {name}: {template.purpose}" in out
        assert template.text in out
    code, out, _ = thor("config", "prompts", "--template", "tir", "--question", "1 + 1?")
    assert "User: 1 + 1?\n\nAssistant:" in out
    assert "--- bare" not in out
    code, _, err = thor("config", "prompts", "--template", "nope")
    assert code == 2
    assert "choose one of bare, tir" in err


def test_what_a_policy_reads_is_shown_token_for_token(thor):
    codec = TokenizerCodec.from_directory(str(base_model_path()))
    code, out, _ = thor("config", "prompts", "--model", "tiny", "--template", "bare", "--question", "gcd(8, 12)?")
    tokens = [codec.token_text(token) for token in codec.encode_prompt("bare", "gcd(8, 12)?")]
    assert code == 0
    assert f"({len(tokens)} tokens)\n" + "│".join(map(visible, tokens)) in out
    assert "the policy ends its turn with <|endoftext|>" in out
    code, out, _ = thor("config", "prompts", "--model", "tiny", "--json")
    shown = {each["template"]: each for each in json.loads(out)}
    assert shown["tir"]["ids"] == codec.encode_prompt("tir", "{question}")
    assert set(shown) == {name for name, template in PROMPT_TEMPLATES.items() if not template.chat}


def test_templates_that_a_policy_cannot_be_asked_by_say_why(thor):
    code, out, _ = thor("config", "prompts", "--model", "tiny")
    assert code == 0
    assert "(policy.template chat cannot be used: the policy's tokenizer has no chat template)" in out
    code, _, err = thor("config", "prompts", "--model", "tiny", "--template", "chat")
    assert code == 2
    assert "choose one of bare, tir, cot" in err


@pytest.fixture
def chatty(tmp_path: Path) -> Path:
    """The tiny policy with a chat template whose turns end otherwise than the policy's."""
    model = tmp_path / "chatty"
    shutil.copytree(base_model_path(), model)
    markup = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}[/end]\n{% endfor %}"
    (model / "chat_template.jinja").write_text(markup + "{% if add_generation_prompt %}[assistant]{% endif %}")
    return model


def test_a_chat_template_is_shown_whole_and_warned_of_where_its_turns_end_otherwise(thor, chatty):
    record_prompt(chatty, "chat", prompt_frame("chat", lambda message, thinking: message))
    code, out, _ = thor("config", "prompts", "--model", chatty, "--template", "chat", "--question", "1?")
    assert code == 0
    assert "tokens, what this policy was trained with)" in out
    plain = out.replace("│", "").replace("·", " ")
    assert "[user] Solve the mathematics problem below." in plain
    assert "1?[/end]⏎\n[assistant]" in plain
    assert "but its chat template with [/end]" in out


def test_what_does_not_print_is_made_visible():
    assert visible("a b\n\tc") == "a·b⏎\n⇥c"
    assert visible("\u200b\u202e\x00é") == "\\u200b\\u202e\\x00é"


REAL_DATA = os.environ.get("THOR_DATA")


@pytest.mark.skipif(REAL_DATA is None, reason="no benchmark files: set THOR_DATA to a folder with benchmarks/*.jsonl")
def test_real_benchmarks_have_the_sizes_that_are_registered(thor):
    code, out, _ = thor("problems", "list", "--data-dir", REAL_DATA)
    assert code == 0, out

"""Problem files, benchmarks and hub data sets: what is read, and what is refused with source, row and fault."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thor_ray.problems import Problem, ProblemFileError, load_problems
from thor_ray.problems.fields import FieldNames
from thor_ray.problems.sources import find_source

GSM8K_ROW = {"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7 apples.\nThat is 7.\n#### 7"}


@pytest.fixture
def write(tmp_path: Path):
    def write_lines(*lines: str) -> Path:
        path = tmp_path / "sums.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write_lines


def test_all_fields_are_read(write) -> None:
    path = write(
        '{"id": "a", "problem": "1 + 1?", "answer": "2", "level": "Level 3", "solution": "Add.", "subject": "Sums"}',
        "",
        '{"question": "2 + 2?", "answer": 4, "difficulty": 4.5}',
    )
    assert load_problems(path) == [
        Problem("a", "1 + 1?", "2", "sums", 3, "Add.", "Sums"),
        Problem("sums-3", "2 + 2?", "4", "sums", 4, None),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ('{"problem": "p", "answer": NaN}', "not JSON: NaN"),
        ('{"problem": "p", "answer": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "not an object, but a list"),
        ("3", "not an object, but a number"),
        ('{"problem": "p", "text": 1}', "fields seen: 'problem', 'text'"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_and_fault(write, line: str, fault: str) -> None:
    path = write('{"problem": "fine", "answer": "1"}', line)
    with pytest.raises(ProblemFileError) as refusal:
        load_problems(path, limit=1)
    assert str(refusal.value).startswith(f"{path}:2: ")
    assert fault in str(refusal.value)


def test_a_duplicate_id_names_both_lines(write) -> None:
    path = write(*(['{"id": "a", "problem": "p", "answer": "1"}'] * 2))
    with pytest.raises(ProblemFileError, match=r":2: id 'a' is already taken by row 1"):
        load_problems(path)


def test_every_faulty_line_is_counted(write) -> None:
    with pytest.raises(ProblemFileError, match=r"(?s):1: .*:10: .*and 5 more faulty rows"):
        load_problems(write(*["x"] * 15))


def test_a_file_without_problems_is_refused(tmp_path: Path, write) -> None:
    with pytest.raises(ProblemFileError, match="no such problem file"):
        load_problems(tmp_path / "absent.jsonl")
    with pytest.raises(ProblemFileError, match="holds no problems"):
        load_problems(write("", " "))
    with pytest.raises(ProblemFileError, match=r"is a folder; name a file in it: sums\.jsonl"):
        load_problems(tmp_path)
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProblemFileError, match="not UTF-8"):
        load_problems(tmp_path / "binary.jsonl")


def test_limit_counts_after_a_shuffle_that_the_seed_decides(write) -> None:
    path = write(*(json.dumps({"problem": f"p{n}", "answer": n}) for n in range(40)))
    ordered = load_problems(path)
    shuffled = load_problems(path, shuffle_seed=1)
    assert shuffled != ordered
    assert sorted(shuffled, key=lambda problem: int(problem.answer)) == ordered
    assert load_problems(path, shuffle_seed=1, limit=5) == shuffled[:5]
    assert load_problems(path, limit=80) == ordered
    with pytest.raises(ValueError, match="limit must be at least 1"):
        load_problems(path, limit=0)


def test_compressed_lines_are_read_and_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"problem": "p", "answer": "1"}).encode()))
    assert [problem.id for problem in load_problems(path)] == ["sums-1"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ProblemFileError, match=r"sums\.jsonl\.gz: cannot be read"):
        load_problems(path)


def test_parquet_in_verls_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rl.parquet"
    row = {
        "data_source": "math",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}],
        "reward_model": {"ground_truth": "2", "style": "rule"},
        "extra_info": {"index": 0, "split": "train"},
    }
    pq.write_table(pa.Table.from_pylist([row, row]), path)
    assert load_problems(path) == [
        Problem("rl-1", "1 + 1?", "2", "rl"),
        Problem("rl-2", "1 + 1?", "2", "rl"),
    ]


def test_a_faulty_parquet_row_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rl.parquet"
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": ["1", None]}), path)
    with pytest.raises(ProblemFileError, match=r"rl\.parquet:2: field 'answer' .* is missing"):
        load_problems(path)
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(ProblemFileError, match=r"rl\.parquet: cannot be read as Parquet"):
        load_problems(path)
    with pytest.raises(ProblemFileError, match="no such problem file"):
        load_problems(tmp_path / "absent.parquet")


def test_named_fields_resolve_what_is_not_clear(write) -> None:
    path = write('{"problem": "p", "question": "q", "answer": "1", "meta": {"gold": "2"}}')
    with pytest.raises(ProblemFileError, match=r":1: it is not clear which field is the question"):
        load_problems(path)
    (problem,) = load_problems(path, names=FieldNames("question", "meta.gold"))
    assert (problem.question, problem.answer) == ("q", "2")


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch) -> Path:
    """A folder laid out like a data set of the hub, which the real library reads from the working directory."""
    pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    folder = tmp_path / "openai" / "gsm8k"
    (folder / "main").mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n"
        "  - {split: train, path: main/train.parquet}\n  - {split: test, path: main/test.parquet}\n---\n"
    )
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist([GSM8K_ROW]), folder / "main" / f"{split}.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_a_data_set_of_the_hub_is_read_by_config_and_split(hub_folder) -> None:
    (problem,) = load_problems("hf:openai/gsm8k:main:test")
    assert (problem.id, problem.answer, problem.source) == ("gsm8k-main-test-1", "7", "gsm8k-main-test")
    assert problem.solution == "3 + 4 = 7 apples.\nThat is 7.\nThe answer is \\boxed{7}."
    assert load_problems("hf:openai/gsm8k::train")[0].id == "gsm8k-train-1"


def test_splits_and_configs_that_are_not_named_or_not_there_are_listed(hub_folder) -> None:
    with pytest.raises(ProblemFileError, match=r"has the splits train, test; name one: hf:openai/gsm8k:main:SPLIT"):
        load_problems("hf:openai/gsm8k:main")
    with pytest.raises(ProblemFileError, match=r"'socratic' not found"):
        load_problems("hf:openai/gsm8k:socratic:test")
    with pytest.raises(ProblemFileError, match=r"written hf:owner/name"):
        load_problems("hf:gsm8k")


def test_without_access_to_the_hub_it_says_what_was_tried_and_how_to_fetch_it_elsewhere(tmp_path, monkeypatch) -> None:
    pytest.importorskip("datasets", reason="the library `datasets` is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ProblemFileError) as refusal:
        load_problems("hf:openai/gsm8k:main:test")
    message = str(refusal.value)
    assert message.startswith("hf:openai/gsm8k:main:test: datasets ")
    assert "config 'main' and split 'test'" in message
    assert "hf download openai/gsm8k --repo-type dataset --local-dir gsm8k" in message


def test_without_the_library_it_says_how_to_get_it_and_how_to_do_without(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ProblemFileError, match=r"(?s)pip install datasets; or download it .*hf download openai/gsm8k"):
        load_problems("hf:openai/gsm8k:main:test")


def aime_folder(folder: Path, rows: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"problem": f"p{row}", "answer": row}) for row in range(rows)]
    (folder / "aime2024.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("below", ["", "benchmarks"])
@pytest.mark.parametrize("name", ["aime2024", "AIME24", "aime_2024"])
def test_a_benchmark_is_found_by_name_in_the_folder_or_through_the_environment(
    tmp_path, monkeypatch, below, name
) -> None:
    aime_folder(tmp_path / below, rows=30)
    monkeypatch.delenv("THOR_DATA", raising=False)
    assert len(load_problems(name, data_dir=tmp_path)) == 30
    monkeypatch.setenv("THOR_DATA", str(tmp_path))
    assert load_problems(name)[0].source == "aime2024"


def test_a_benchmark_of_the_wrong_size_is_refused_unless_its_file_is_named(tmp_path) -> None:
    aime_folder(tmp_path, rows=15)
    with pytest.raises(ProblemFileError, match=r"aime2024\.jsonl holds 15 problems, but AIME 2024 has 30"):
        load_problems("aime2024", data_dir=tmp_path)
    assert len(load_problems(tmp_path / "aime2024.jsonl")) == 15


def test_a_benchmark_without_a_file_says_where_it_was_looked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("THOR_DATA", raising=False)
    with pytest.raises(ProblemFileError, match=r"name the folder that holds math500\.jsonl .* --data-dir or THOR_DATA"):
        load_problems("math500")
    with pytest.raises(ProblemFileError, match=r"tried .*benchmarks/math500\.jsonl.*; its origin: ZubinGou"):
        load_problems("math500", data_dir=tmp_path)
    with pytest.raises(ProblemFileError, match="humanevalplus is a code benchmark"):
        load_problems("HumanEval+", data_dir=tmp_path)


def test_a_path_is_never_taken_for_a_benchmark(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("math500").write_text('{"problem": "p", "answer": "1"}')
    assert load_problems(Path("math500"))[0].id == "math500-1"
    assert find_source("./math500").benchmark is None


def test_real_problem_files_load_as_they_stand() -> None:
    root = os.environ.get("THOR_DATA")
    if not root:
        pytest.skip("set THOR_DATA to a folder with real problem files (*.jsonl) to load them all")
    files = sorted(Path(root).rglob("*.jsonl"))
    assert files, f"THOR_DATA={root} holds no *.jsonl"
    for file in files:
        rows = [json.loads(line) for line in file.open(encoding="utf-8", newline="\n")]
        problems = load_problems(file)
        assert [(each.question, each.answer) for each in problems] == [
            (row["problem"], row["answer"].strip()) for row in rows
        ]

"""The dashboard's server over real records: what it tells, whom it tells, and what it never gives away."""

import json
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.dashboards import dashboard
from tests.support.runs import FAILED, evaluation, trajectory, write_rl_round, write_run
from tests.support.steps import write_steps
from thor_ray.records import Stage
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog

TOKEN = "0123456789abcdef-_"
SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    (place / "secret.txt").write_text(SECRET)
    runs = [write_run(place / "one"), write_run(place / "two")]
    write_steps(runs[0])
    return runs


@pytest.fixture(scope="module")
def address(runs):
    with dashboard(*runs) as address:
        yield address


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, params={"run": "one"}, timeout=60) as client:
        yield client


def ask(client, path, **query):
    answer = client.get(f"/api/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_runs_are_listed_in_the_order_in_which_they_were_named(client):
    assert [(run["name"], run["status"]) for run in ask(client, "runs")] == [("one", "finished"), ("two", "finished")]


def test_overview_tells_stages_settings_and_machine(client):
    overview = ask(client, "overview")
    assert next(iter(overview["stages"])) == "evaluate_base"
    assert "seed: 7" in overview["recipe"]
    assert overview["environment"]["versions"]["thor-ray"]
    assert overview["unreadable"] == {}


def test_metrics_are_columns_over_rounds(client):
    rl = ask(client, "metrics")["rl"]
    assert rl["rounds"] == list(range(12))
    assert rl["values"]["weights/version"] == list(range(1, 13))
    assert all(len(column) == 12 for column in rl["values"].values())


def test_rollouts_are_filtered_searched_and_paged_by_the_server(client):
    everything = ask(client, "rollouts", limit=200)
    assert everything["total"] == everything["recorded"] > len(everything["rows"]) == 200
    failed = ask(client, "rollouts", status=["tool_error", "wrong"], limit=200)
    assert 0 < failed["total"] < everything["total"]
    assert all({"tool_error", "wrong"} <= set(row["statuses"]) for row in failed["rows"])
    assert failed["counts"]["tool_error"] == failed["total"]
    pages = [ask(client, "rollouts", status="tool_error", limit=9, offset=offset)["rows"] for offset in range(0, 60, 9)]
    ids = [row["trajectory_id"] for page in pages for row in page]
    assert len(set(ids)) == len(ids) == ask(client, "rollouts", status="tool_error")["total"]
    found = ask(client, "rollouts", q="IMPORT MATH\n", limit=200)["rows"]
    assert {row["group_kind"] for row in found} == {"step"}
    assert ask(client, "rollouts", q="%27 OR 1=1 --")["total"] == 0
    assert ask(client, "rollouts", stage="rl", round=3)["total"] == 8


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 9999}, {"offset": -1}, {"status": "nonsense"}, {"order": "file"}, {"q": "x" * 2000}],
)
def test_questions_without_sense_are_refused(client, query):
    assert client.get("/api/rollouts", params=query).status_code == 422


def test_a_trajectory_is_told_token_by_token(client):
    shown = ask(client, "trajectory", id="rl0/e0.0")
    assert [one["kind"] for one in shown["segments"]][:3] == ["prompt", "thought", "action"]
    assert shown["segments"][2]["result"]["exception_type"] == "NameError"
    assert shown["advantage"] == pytest.approx(-0.866)
    assert len(shown["siblings"]) == 4
    tokens = ask(client, "tokens", id="rl0/e0.0")
    assert {len(column) for column in tokens.values()} == {shown["tokens"]}
    assert sum(tokens["mask"]) == shown["trained_tokens"]
    assert "".join(tokens["texts"]) == "".join(one["text"] for one in shown["segments"])


def test_a_group_tells_its_spread_and_why_it_was_dropped(client):
    group = ask(client, "group", uid="rl0/e1")
    assert group["group_dropped"] == "zero_variance"
    assert group["rewards"] == {"count": 2, "mean": 0.0, "deviation": 0.0, "min": 0.0, "max": 0.0}
    assert [one["trajectory_id"] for one in group["trajectories"]] == ["rl0/e1.0", "rl0/e1.1"]


@pytest.mark.parametrize("asked", ["rl0/e1.0", "rl0/s0.1"])
def test_the_tree_is_the_same_from_parent_and_child(client, asked):
    tree = ask(client, "tree", id=asked)
    assert tree["trajectory"]["trajectory_id"] == "rl0/e1.0"
    (branch,) = tree["branches"]
    assert [one["trajectory_id"] for one in branch["continuations"]] == ["rl0/s0.0", "rl0/s0.1"]
    assert all(one["first_sampled"] == branch["cut"] for one in branch["continuations"])


def test_candidates_of_tirgen_are_filtered_and_paged_by_the_server(client):
    everything = ask(client, "tirgen")
    assert (everything["recorded"], everything["total"], everything["kept"]) == (50, 50, 40)
    assert everything["rules"] == {"answer_correct": 10}
    assert everything["verdicts"] == {"no_claim": 50, "codable": 50}
    assert len(everything["rows"]) == 20
    last = ask(client, "tirgen", kept="false", offset=8, limit=5)
    assert (last["total"], [row["problem_id"] for row in last["rows"]]) == (10, ["gcd-44", "gcd-49"])
    (one,) = ask(client, "tirgen", problem_id="gcd-10")["rows"]
    words, computed = one["steps"]
    assert [block["status"] for block in computed["blocks"]] == ["exception", "ok"]
    assert "".join(text for _, text in computed["blocks"][1]["code"]) == "import math\nprint(math.gcd(36, 108))"
    assert computed["claim"]["agreement"] == "different"
    assert words["claim"] is None
    assert ask(client, "tirgen", agreement="same")["rows"] == []
    (hostile,) = ask(client, "tirgen", problem_id="gcd-7")["rows"]
    assert hostile["steps"][0]["text"] == "<img src=x onerror=alert(1)>␛[31m"
    assert ask(client, "tirgen", run="two") == {
        **dict.fromkeys(("recorded", "total", "kept"), 0),
        **{name: {} for name in ("rules", "verdicts", "agreements")},
        "rows": [],
    }


def test_time_adds_up(client):
    timing = ask(client, "timing", stage="rl")
    assert {one["round"] for one in timing["rounds"]} == set(range(12))
    assert timing["trajectories"] == ask(client, "rollouts", stage="rl")["total"]


@pytest.mark.parametrize("path", ["trajectory", "tokens", "tree", "group"])
def test_what_is_not_recorded_is_not_found(client, path):
    answer = client.get(f"/api/{path}", params={"id": "nobody", "uid": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["error"]


@pytest.mark.parametrize("name", ["three", "../one", "..", "/", "one/../two", "%2e%2e", "one\x00"])
def test_only_runs_that_are_served_can_be_named(client, name):
    assert client.get("/api/status", params={"run": name}).status_code == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/vendor/../../secret.txt",
        "/vendor/..%5c..%5csecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/api/../../secret.txt",
        "/one/recipe.yaml",
        "/app.py",
        "/static/app.js",
        "/index.html%00",
        "/vendor/",
    ],
)
def test_no_address_leads_to_a_file(address, target):
    """Sent as it stands: HTTP clients would tidy such a path up."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=30) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert SECRET.encode() not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/runs", "/nothing", "/api/status?run=nobody"])
def test_every_reply_forbids_foreign_code(client, path):
    headers = client.get(path).headers
    policy = dict(one.strip().split(" ", 1) for one in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


def test_the_page_has_no_inline_code_and_asks_nobody_else(client):
    page = client.get("/").text
    assert page.count("<script") == page.count("<script src=") + page.count('<script type="module" src=')
    assert "style=" not in page
    assert "http://" not in page
    assert "https://" not in page
    for module in ("app", "dom", "segments", "rollouts", "trajectory"):
        source = client.get(f"/{module}.js").text
        assert not any(
            word in source for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_page_only_reads(client, method):
    assert client.request(method, "/api/runs").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", ""])
def test_a_name_that_was_led_here_is_refused(client, host):
    answer = client.get("/api/runs", headers={"Host": host})
    assert answer.status_code == 421
    assert "one" not in answer.text.split()


def test_beyond_loopback_nothing_is_served_without_a_token(runs):
    command = [sys.executable, "-m", "thor_ray.cli", "dashboard", str(runs[0]), "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "needs a token" in refused.stderr


def test_with_a_token_only_its_bearer_gets_in(runs):
    with dashboard(runs[0], options=("--host", "0.0.0.0", "--token", TOKEN)) as address:
        assert address.endswith(f"/?token={TOKEN}")
        base = f"http://127.0.0.1:{urlsplit(address).port}"
        for path in ("/", "/api/runs", "/app.js", "/?token=wrong", f"/api/runs?token={TOKEN}"):
            assert httpx.get(base + path).status_code == 401
        assert httpx.get(f"{base}/api/runs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        with httpx.Client(base_url=base) as browser:
            answer = browser.get("/", params={"token": TOKEN, "run": "one", "view": "rollouts"})
            assert answer.status_code == 303
            assert answer.headers["location"] == "/?run=one&view=rollouts"
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert browser.get("/api/runs").status_code == 200
        double = httpx.get(f"{base}//evil.example/", params={"token": TOKEN})
        assert double.status_code == 401


def test_hostile_text_comes_as_text(tmp_path):
    hostile = "<script>alert(1)</script>\x1b]0;x\x07\u202e\x00" + "A" * 2**20
    run = tmp_path / "hostile"
    with RunLog.create(
        write_run(tmp_path / "donor").parent / "hostile", RunDirectory(tmp_path / "donor").recipe(), "train"
    ) as log:
        log.keep_tokenizer(tmp_path / "donor" / "tokenizer")
        with log.stage(Stage.RL):
            groups = evaluation(Stage.RL, [trajectory("<b>id</b>/../x", "p\x1b[31m", (FAILED,), extra=hostile)])
            log.record_groups(groups, Stage.RL, 0)
    (run / "logs" / "actors.log").write_bytes(b"\xff\xfe broken \x1b[2J <i>log</i>\n")
    with dashboard(run) as address, httpx.Client(base_url=address, params={"run": "hostile"}, timeout=60) as client:
        answer = client.get("/api/trajectory", params={"id": "<b>id</b>/../x"})
        assert answer.headers["content-type"] == "application/json"
        text = "".join(one["text"] for one in answer.json()["segments"])
        assert "<script>alert(1)</script>␛]0;x␇\\u202e␀AAAA" in text
        log_text = ask(client, "overview")["log"]
        assert "␛[2J" in log_text
        assert "\\xff" in log_text


def test_a_run_is_followed_while_it_is_written_and_after_it_was_killed(tmp_path):
    donor = write_run(tmp_path / "runs" / "donor") if (tmp_path / "runs").mkdir() is None else None
    assert donor is not None
    with (
        dashboard(cwd=tmp_path) as address,
        httpx.Client(base_url=address, params={"run": "live"}, timeout=60) as client,
    ):
        assert [run["name"] for run in ask(client, "runs")] == ["donor"]
        with RunLog.create(tmp_path / "runs" / "live", RunDirectory(donor).recipe(), "train") as log:
            assert [run["name"] for run in ask(client, "runs")] == ["live", "donor"]
            before = ask(client, "status")
            assert before["status"] == "running"
            assert ask(client, "rollouts")["total"] == 0
            assert ask(client, "metrics") == {}
            with log.stage(Stage.RL):
                write_rl_round(log, 0)
                first = ask(client, "status")
                assert first["change"] != before["change"]
                assert ask(client, "rollouts")["total"] == 8
                write_rl_round(log, 1)
                assert ask(client, "metrics")["rl"]["rounds"] == [0, 1]
                # The donor kept its tokenizer; this run has none, and shows token ids.
                assert ask(client, "tokens", id="rl1/e0.0")["texts"][0] is None
        progress = tmp_path / "runs" / "live" / "progress.json"
        state = json.loads(progress.read_text())
        progress.write_text(json.dumps(state | {"status": "running", "owner": {**state["owner"], "pid": 2**22 - 1}}))
        with (tmp_path / "runs" / "live" / "metrics.jsonl").open("a") as file:
            file.write('{"time": "torn')
        assert ask(client, "status")["status"] == "interrupted"
        assert ask(client, "metrics")["rl"]["rounds"] == [0, 1]
        (tmp_path / "runs" / "live" / "records" / "rl-00002.parquet").write_bytes(b"PAR1 torn")
        assert list(ask(client, "overview")["unreadable"]) == ["rl-00002.parquet"]
        assert ask(client, "rollouts")["total"] == 16

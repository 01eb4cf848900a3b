"""A log is printed from its end, filtered by actor, and followed until its run ends."""

from typing import Any

from tests.support.runs import write_run
from thor_ray.actor_log import followed, latest
from thor_ray.config import Recipe
from thor_ray.run_directory import RunDirectory
from thor_ray.runlog import RunLog

LINES = ["RolloutActor 11 | one", "LearnerWorker 12 | two", "RolloutActor 13 | three"]


def with_log(path: Any) -> RunDirectory:
    run = RunDirectory(write_run(path))
    (run.logs / "actors.log").write_text("".join(f"{line}\n" for line in LINES) + "RolloutActor 11 | torn")
    return run


def test_the_latest_whole_lines_of_all_or_of_one_actor(tmp_path):
    run = with_log(tmp_path / "run")
    assert latest(run, 100)[0] == LINES
    assert latest(run, 2)[0] == LINES[1:]
    assert latest(run, 9, "RolloutActor")[0] == [LINES[0], LINES[2]]
    assert latest(run, 9, "RolloutActor 13")[0] == latest(run, 9, "13")[0] == [LINES[2]]
    assert latest(run, 0)[0] == []


def test_a_run_that_has_ended_is_not_waited_for(tmp_path):
    run = with_log(tmp_path / "run")
    assert list(followed(run, latest(run, 2)[1])) == []
    (run.logs / "actors.log").unlink()
    assert latest(run, 5) == ([], 0)
    assert list(followed(run, 0)) == []


def test_lines_are_followed_until_the_run_ends_and_cannot_steer_the_terminal(tmp_path):
    def append(text: str) -> None:
        with (tmp_path / "run" / "logs" / "actors.log").open("a") as file:
            file.write(text)

    def end() -> None:
        append(" and whole\n")
        log.__exit__(None, None, None)

    log = RunLog.create(tmp_path / "run", Recipe(), "train").__enter__()
    steps = iter(
        [
            lambda: append("RolloutActor 11 | \x1b[2Jred\n"),
            lambda: append("LearnerWorker 12 | not mine\nRolloutActor 11 | half"),
            end,
        ]
    )
    seen = list(followed(RunDirectory(log.path), 0, "RolloutActor", wait=lambda seconds: next(steps)()))
    assert seen == ["RolloutActor 11 | ␛[2Jred", "RolloutActor 11 | half and whole"]

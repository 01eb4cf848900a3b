"""What actors print is kept under their names, as they print it."""

import time

from actors.logs import ActorLog

PATIENCE = 60.0


def test_lines_are_kept_under_the_name_of_their_actor(tmp_path):
    (tmp_path / "worker-ab-01-11.out").write_text(":job_id:01\n:actor_name:RolloutActor\nready\n\n")
    (tmp_path / "worker-ab-01-11.err").write_text(":job_id:01\n:actor_name:RolloutActor\nTraceback\n")
    (tmp_path / "worker-cd-01-12.err").write_text(":job_id:01\n:actor_name:LearnerWorker\nwarning\n")
    (tmp_path / "raylet.err").write_text("not an actor\n")
    target = tmp_path / "actors.log"
    target.write_text("from the attempt before\n")
    ActorLog(tmp_path, target).sweep()
    assert target.read_text().splitlines() == [
        "from the attempt before",
        "RolloutActor 11 | ready",
        "RolloutActor 11 | Traceback",
        "LearnerWorker 12 | warning",
    ]


def test_idle_workers_leave_no_file_behind(tmp_path):
    (tmp_path / "worker-ef-ff-13.out").write_text("")
    ActorLog(tmp_path, tmp_path / "actors.log").sweep(to_the_end=True)
    assert not (tmp_path / "actors.log").exists()


def test_each_line_is_kept_once_and_whole_whenever_it_is_looked_at(tmp_path):
    source, target = tmp_path / "worker-ab-01-11.out", tmp_path / "actors.log"
    text = ":actor_name:RolloutActor\nfirst\nzweite Zeile mit ü\nlast, without an end"
    log = ActorLog(tmp_path, target)
    with source.open("wb", buffering=0) as file:
        for byte in text.encode():
            file.write(bytes([byte]))
            log.sweep()
    assert target.read_text().splitlines() == ["RolloutActor 11 | first", "RolloutActor 11 | zweite Zeile mit ü"]
    log.sweep(to_the_end=True)
    assert target.read_text().splitlines()[2:] == ["RolloutActor 11 | last, without an end"]


def test_the_file_grows_while_actors_print_and_is_whole_when_closed(tmp_path):
    source, target = tmp_path / "worker-ab-01-11.out", tmp_path / "actors.log"
    source.write_text(":actor_name:RolloutActor\nearly\n")
    log = ActorLog(tmp_path, target)
    log.start()
    deadline = time.monotonic() + PATIENCE
    while not target.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with source.open("a") as file:
        file.write("late")
    log.close()
    assert target.read_text() == "RolloutActor 11 | early\nRolloutActor 11 | late\n"

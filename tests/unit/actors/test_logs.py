"""What actors print is kept under their names."""

from actors.logs import merge_actor_logs


def test_lines_are_kept_under_the_name_of_their_actor(tmp_path):
    (tmp_path / "worker-ab-01-11.out").write_text(":job_id:01\n:actor_name:RolloutActor\nready\n\n")
    (tmp_path / "worker-ab-01-11.err").write_text(":job_id:01\n:actor_name:RolloutActor\nTraceback\n")
    (tmp_path / "worker-cd-01-12.err").write_text(":job_id:01\n:actor_name:LearnerWorker\nwarning\n")
    (tmp_path / "raylet.err").write_text("not an actor\n")
    target = tmp_path / "actors.log"
    target.write_text("from the attempt before\n")
    merge_actor_logs(tmp_path, target)
    assert target.read_text().splitlines() == [
        "from the attempt before",
        "RolloutActor 11 | ready",
        "RolloutActor 11 | Traceback",
        "LearnerWorker 12 | warning",
    ]


def test_idle_workers_leave_no_file_behind(tmp_path):
    (tmp_path / "worker-ef-ff-13.out").write_text("")
    merge_actor_logs(tmp_path, tmp_path / "actors.log")
    assert not (tmp_path / "actors.log").exists()

"""A fork without the interpreter's hooks, and memory that is moved into large pages: neither may change anything."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_script(script: str) -> str:
    """In a process of its own: these are for processes that never had a second thread."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_is_a_whole_process_with_threads_of_its_own():
    output = run_script("""
        import os, random, threading
        from sandbox.inside import heap
        heap.settle()
        state = random.getstate()
        child = heap.fork()
        if child == 0:
            found = []
            threads = [threading.Thread(target=found.append, args=(number,)) for number in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            sound = sorted(found) == list(range(8)) and threading.current_thread() is threading.main_thread()
            # No hook has run: the random generator goes on where it was.
            os._exit(7 if sound and os.getpid() != os.getppid() and random.getstate() == state else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    assert output == "7\n"


def test_a_refused_fork_raises():
    output = run_script("""
        import errno, struct
        from sandbox.inside import heap, kernel, seccomp
        from sandbox.inside.syscalls import HERE
        refuse = [(0x20, 0, 0, 0), (0x15, 0, 1, HERE.calls["clone"]), (0x06, 0, 0, 0x0005_0000 | errno.EAGAIN),
                  (0x15, 0, 1, 435), (0x06, 0, 0, 0x0005_0000 | errno.EAGAIN), (0x06, 0, 0, 0x7FFF_0000)]
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install(b"".join(struct.pack("<HBBI", *step) for step in refuse))
        try:
            heap.fork()
        except OSError as error:
            print(errno.errorcode[error.errno])
    """)
    assert output == "EAGAIN\n"


def test_settled_memory_holds_what_it_held():
    output = run_script("""
        import gc, hashlib
        from sandbox.inside import heap
        objects = [[number, str(number) * 9] for number in range(300_000)]  # tens of megabytes
        before = hashlib.sha256(repr(objects).encode()).digest()
        heap.settle()
        print(hashlib.sha256(repr(objects).encode()).digest() == before, gc.get_freeze_count() >= len(objects))
    """)
    assert output == "True True\n"


def test_new_objects_do_not_fall_into_holes_between_old_ones():
    output = run_script("""
        from sandbox.inside import heap
        old = [bytes(100 + number % 200) for number in range(100_000)]
        del old[::3]
        heap.settle()
        new = [bytes(100 + number % 200) for number in range(2_000)]
        holes = {id(each) // 4096 for each in old}
        print(sum(id(each) // 4096 in holes for each in new) < 100)
    """)
    assert output == "True\n"

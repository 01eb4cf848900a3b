"""Namespaces: a view of the machine in which there is nothing but a program's libraries.

A zygote enters them once, in two steps. `enter` makes user, mount, network, IPC, host name and process namespaces before
anything else happens; `change_root`, once the libraries are loaded, builds a root directory in which only the library
directories exist, all of them read-only, and lets go of the old one. There is no /proc and no network interface. Each child
then calls `mount_scratch` for a file system of its own, of bounded size, which ends with it.

No privilege is needed, only that the kernel and the container's profile allow user namespaces.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple, NoReturn

from sandbox.inside import kernel
from sandbox.inside.kernel import MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT
from sandbox.inside.syscalls import MOUNT_SETATTR

HOST_NAME = "sandbox"
_KINDS = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWPID
)

_ROOT_OPTIONS = "size=1m,nr_inodes=4096,mode=0755"
_OLD_ROOT = ".old"
_MNT_DETACH = 2
_MS_RELATIME = 1 << 21
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTRIBUTES = struct.Struct("<QQQQ")
"""struct mount_attr: attributes to set, to clear, propagation, user namespace."""


class View(NamedTuple):
    """What a root directory has to contain so that some paths lead where they lead now.

    Attributes:
        directories: real paths, none below another.
        links: targets of the symbolic links on the way, by their real paths.
    """

    directories: tuple[str, ...]
    links: Mapping[str, str]


def enter() -> None:
    """Puts this process, single-threaded and just exec'ed, into namespaces of its own.

    Returns in a new process, the first of its process namespace; the calling one only waits for its end, to end the same
    way. When the calling process dies, so do the new one and all that it started.

    Raises:
        OSError: the kernel or the container's profile refuses.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.call("unshare", _KINDS)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    outside = os.pidfd_open(os.getpid())
    inside = os.fork()
    if inside:
        _stand_by(inside)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if _has_ended(outside):
        os._exit(1)
    os.close(outside)
    socket.sethostname(HOST_NAME)


def view(paths: Iterable[str]) -> View:
    """What of this machine's file tree has to be shown so that the directories among `paths` can be found."""
    found: dict[str, None] = {}
    links: dict[str, str] = {}
    for path in paths:
        if os.path.isdir(path):
            found[_resolve(path, links)] = None
    directories = [path for path in found if not any(path.startswith(f"{other}/") for other in found)]
    return View(tuple(directories), links)


def free_name(shown: View) -> str:
    """A path in the root directory where nothing of `shown` lies."""
    taken = {path.split("/")[1] for path in (*shown.directories, *shown.links)}
    name = "scratch"
    while name in taken:
        name += "_"
    return f"/{name}"


def change_root(shown: View, empty_directory: str) -> None:
    """Makes a read-only root directory that shows only `shown`, and one empty directory; the old root goes out of reach.

    Raises:
        OSError: the kernel refuses.
    """
    somewhere = "/usr"  # any directory will do: the next step uncovers it again
    kernel.mount("tmpfs", somewhere, "tmpfs", MS_NOSUID | MS_NODEV, _ROOT_OPTIONS)
    os.chdir(somewhere)
    os.mkdir(_OLD_ROOT)
    kernel.call("pivot_root", b".", os.fsencode(_OLD_ROOT))
    os.chdir("/")
    for directory in shown.directories:
        os.makedirs(directory)
        _bind_read_only(f"/{_OLD_ROOT}{directory}", directory)
    for path, target in shown.links.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)
    os.mkdir(empty_directory)
    kernel.call("umount2", os.fsencode(_OLD_ROOT), _MNT_DETACH)
    os.rmdir(_OLD_ROOT)
    kernel.mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def mount_scratch(directory: str, max_bytes: int, max_files: int) -> int:
    """Gives this process an empty file system that no other one sees, makes it the working directory, and returns it open.

    Needs CAP_SYS_ADMIN in the user namespace. What is in it is freed with the last process and the last descriptor.

    Raises:
        OSError: the kernel refuses.
    """
    kernel.call("unshare", kernel.CLONE_NEWNS)
    options = f"size={max_bytes},nr_inodes={max_files + 1},mode=0700"
    kernel.mount("tmpfs", directory, "tmpfs", kernel.SCRATCH_MOUNT_FLAGS, options)
    os.chdir(directory)
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        error.filename = path
        raise


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _stand_by(process: int) -> NoReturn:
    """Waits for a process and ends as it ended."""
    kernel.close_from(3)
    kernel.keep_capabilities()
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _resolve(path: str, links: dict[str, str]) -> str:
    """The real path; adds the symbolic links that were followed."""
    pending = path.split("/")
    real = ""
    while pending:
        part = pending.pop(0)
        if part == "..":
            real = os.path.dirname(real).rstrip("/")
        elif part not in ("", "."):
            here = f"{real}/{part}"
            if os.path.islink(here):
                links[here] = os.readlink(here)
                real = "" if links[here].startswith("/") else real
                pending[:0] = links[here].split("/")
            else:
                real = here
    return real


def _bind_read_only(source: str, target: str) -> None:
    """Shows a directory at another place, where it cannot be written to."""
    kernel.mount(source, target, None, MS_BIND | MS_REC)
    try:
        _protect_all_below(target)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # Linux before 5.12, and gVisor, can protect a single mount only: so nothing else may be mounted below it.
        kernel.call("umount2", os.fsencode(target), _MNT_DETACH)
        kernel.mount(source, target, None, MS_BIND)
        kernel.mount(None, target, None, MS_PRIVATE)
        kernel.mount(
            None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | _locked_flags(target)
        )


def _locked_flags(path: str) -> int:
    """What a user namespace may not take from a mount that it did not make."""
    flags = os.statvfs(path).f_flag
    kept = flags & (os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    return kept | (_MS_RELATIME if flags & os.ST_RELATIME else 0)


def _protect_all_below(target: str) -> None:
    """Makes a mount and all that is mounted below it read-only."""
    attributes = _ATTRIBUTES.pack(MS_RDONLY | MS_NOSUID | MS_NODEV, 0, MS_PRIVATE, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    name = ctypes.create_string_buffer(os.fsencode(target))
    where = (_AT_FDCWD, ctypes.addressof(name), _AT_RECURSIVE)
    kernel.syscall(MOUNT_SETATTR, *where, ctypes.addressof(buffer), len(attributes))

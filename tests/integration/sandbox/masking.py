"""Takes system calls away, as other machines and container profiles do. Needs nothing but the sandbox."""

import errno
import struct
from collections.abc import Mapping

from sandbox.inside import kernel, seccomp
from sandbox.inside.syscalls import HERE, MOUNT_SETATTR

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF_0000, 0x0005_0000

Mask = Mapping[str, int]
"""Names of system calls with the errors that they fail with."""

SUCCESS_WITHOUT_EFFECT = 0
NO_LANDLOCK: Mask = dict.fromkeys(
    ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"), errno.ENOSYS
)
NO_NAMESPACES: Mask = {"unshare": errno.EPERM, "mount": errno.EPERM}
"""What the default profile of Docker and Kubernetes refuses to a container without CAP_SYS_ADMIN."""


def install(mask: Mask) -> None:
    """Takes system calls from this process and all that it starts, for good."""
    assert HERE is not None
    calls = {**HERE.calls, "mount_setattr": MOUNT_SETATTR}
    steps = [(_LOAD, 0, 0, 0)]
    for name, error in mask.items():
        steps += [(_EQUAL, 0, 1, calls[name]), (_RETURN, 0, 0, _FAIL | error)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(b"".join(struct.pack("<HBBI", *step) for step in steps))

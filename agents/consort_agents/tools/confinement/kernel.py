"""Calls of the Linux kernel that Python has no names for.

Each raises OSError as the kernel answers. On other systems each raises OSError too, so
that what they protect counts as missing there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE = 1 << 18
_MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
"""Landlock's numbers are the same everywhere; this one is older."""
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_PATH_BENEATH = 1


def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"{sys.platform} is not Linux")
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    _checked(_libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def unshare(flags: int) -> None:
    _checked(_libc().unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    told = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc().mount(told[0], told[1], told[2], ctypes.c_ulong(flags), told[3])
    _checked(result, f"mount on {target}")


def enter_root(folder: str) -> None:
    """Make a mounted folder the root, and let go of the old one."""
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"pivot_root is not known on {os.uname().machine}")
    libc = _libc()
    os.chdir(folder)
    _checked(libc.syscall(number, b".", b"."), "pivot_root")
    _checked(libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")


def landlock_version() -> int:
    """Which version of Landlock the kernel has. Raises OSError where it has none, or does not use it."""
    return _checked(_libc().syscall(_CREATE_RULESET, None, 0, _RULESET_VERSION), "landlock")


def landlock_ruleset(files: int, network: int, scoped: int) -> int:
    """A new set of rules, as a descriptor."""
    told = struct.pack("=QQQ", files, network, scoped)
    version = landlock_version()
    size = 8 if version < 4 else 16 if version < 6 else 24
    return _checked(_libc().syscall(_CREATE_RULESET, told[:size], size, 0), "landlock_create_ruleset")


def landlock_allow(ruleset: int, path: str, access: int) -> None:
    """Add what may be done beneath a path."""
    descriptor = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        result = _libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        _checked(result, f"landlock_add_rule for {path}")
    finally:
        os.close(descriptor)


def landlock_enter(ruleset: int) -> None:
    """Keep to the rules from now on; there is no way back."""
    _checked(_libc().syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")

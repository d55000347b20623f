"""A room of its own for a command: namespaces of the kernel, and a root with little in it.

The room shows the system's programs and libraries, what the command was given to read, a few
devices, and its working folder, which alone can be written to. Its processes see and signal
each other only, and end with the first of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from consort_agents.tools.confinement import kernel

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
"""Programs and libraries; where one is a link, the link is made."""
SETTINGS = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
)
NETWORK_SETTINGS = ("/etc/resolv.conf", "/etc/hosts")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_KEPT = (os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC) if hasattr(os, "ST_NODEV") else ()
_FLAGS = dict(zip(_KEPT, (kernel.MS_NOSUID, kernel.MS_NODEV, kernel.MS_NOEXEC), strict=False))
_APART = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


def leave_the_others(*, network: bool) -> None:
    """Put the processes that are started from now on into namespaces of their own. Raises OSError."""
    wanted = _APART | (0 if network else kernel.CLONE_NEWNET)
    if os.geteuid() == 0:
        with suppress(PermissionError):
            kernel.unshare(wanted)
            return
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(wanted | kernel.CLONE_NEWUSER)
    _same_names(user, group)


def only_a_user_here() -> None:
    """Give up every right that comes with the namespaces, and the right to make new ones. Raises OSError.

    Within its own user namespace the processes of the command are counted apart from all others of that user.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or the maps belong to root, after the user has changed
    kernel.unshare(kernel.CLONE_NEWUSER)
    _same_names(user, group)
    with suppress(OSError):
        _write("/proc/sys/user/max_user_namespaces", b"0")


def _same_names(user: int, group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        _write(f"/proc/self/{name}", text.encode())


def _write(path: str, text: bytes) -> None:
    """Without a codec of Python's: those are files, and no longer there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def furnish(root: str, folder: str, read: Iterable[str], *, network: bool) -> None:
    """Build the room on an empty folder `root`, and go in. Raises OSError."""
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=0755")
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _show(root, path)
    for path in (*SETTINGS, *(NETWORK_SETTINGS if network else ()), *read):
        if os.path.exists(path) and not os.path.exists(root + path):
            _show(root, path)
    for path in DEVICES:
        _bind(root, path)
    os.makedirs(f"{root}/proc", exist_ok=True)
    with suppress(OSError):  # some containers do not allow it; most programs do without
        kernel.mount("proc", f"{root}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    _bind(root, folder)
    _again(root + folder, kernel.MS_NOSUID | kernel.MS_NODEV)
    _again(root, kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    kernel.enter_root(root)


def _show(root: str, path: str) -> None:
    """Let a file or folder be seen, not changed."""
    _bind(root, path)
    _again(root + path, kernel.MS_RDONLY | kernel.MS_NOSUID)


def _bind(root: str, path: str) -> None:
    target = root + path
    if stat.S_ISDIR(os.stat(path).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    try:
        kernel.mount(path, target, None, kernel.MS_BIND)
    except OSError:  # what lies mounted on it cannot be left out in a user namespace
        kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)


def _again(target: str, flags: int) -> None:
    """Mount once more with other flags; those that were set stay, as they must in a user namespace."""
    had = os.statvfs(target).f_flag
    for mark, flag in _FLAGS.items():
        flags |= flag if had & mark else 0
    kernel.mount(None, target, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags)

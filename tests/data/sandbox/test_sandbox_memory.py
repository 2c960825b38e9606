"""Memory that no limit of a process counts, and what else the kernel is not asked for in a sandbox."""

import textwrap

import pytest

from data.sandbox import jail, trial


@pytest.fixture(params=["bubblewrap", "nsjail", "none"], scope="module")
def kind(request):
    """Each kind of walls where this machine can build them, and none."""
    if request.param != "none" and (wrong := jail.fault(request.param)):
        pytest.skip(f"{request.param} {wrong}")
    return request.param


CALLS = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
MIB = 2**20
ARM = platform.machine() == "aarch64"
def done(result): return result != -1
"""

HOARDS = {
    "shared memory of System V": """
        def f(x):
            taken = 0
            for _ in range(48):
                segment = libc.shmget(0, 64 * MIB, 0o1600)
                if segment < 0: break
                at = libc.shmat(segment, None, 0)
                ctypes.memset(at, 1, 64 * MIB)
                libc.shmdt(ctypes.c_void_p(at))
                taken += 64
            return taken
    """,
    "queues of System V": """
        def f(x): return sum(done(libc.msgget(0, 0o1600)) for _ in range(9))
    """,
    "semaphores of System V": """
        def f(x): return sum(done(libc.semget(0, 30_000, 0o1600)) for _ in range(9))
    """,
    "files in memory": """
        def f(x):
            try: os.memfd_create("x")
            except OSError: return 0
            return 1
    """,
    "secret memory": "def f(x): return int(done(libc.syscall(447, 0)))",
    "queues of POSIX": """
        def f(x): return int(done(libc.syscall(180 if ARM else 240, b"x", 0o102, 0o600, None)))
    """,
    "rings": """
        def f(x): return int(done(libc.syscall(425, 8, ctypes.create_string_buffer(256))))
    """,
    "keys": """
        def f(x): return int(done(libc.syscall(217 if ARM else 248, b"user", b"x", b"y" * 9, 9, -4)))
    """,
    "forked children": """
        def f(x):
            try: child = os.fork()
            except OSError: return 0
            if child == 0: os._exit(0)
            return 1
    """,
    "spawned children": """
        def f(x):
            try: os.posix_spawn("/usr/bin/true", ["true"], {})
            except OSError: return 0
            return 1
    """,
    "the calls of another architecture's numbers": """
        def f(x): return 0 if ARM else int(done(libc.syscall(0x40000000 + 29, 0, 4096, 0o1600)))
    """,
}


@pytest.mark.parametrize("program", HOARDS.values(), ids=HOARDS.keys())
def test_no_memory_is_had_beside_the_limit(kind, program):
    source = CALLS + textwrap.dedent(program)
    outcome = trial.run(source, "assert f(0) == 0", ["f"], seconds=20, memory_mib=256, kind=kind)
    assert outcome.passed, outcome


NAMESPACES = """
    def f(x):
        user, other = 0x10000000, 0
        made = [flags for flags in (user, user | 0x20000, 0x20000, 0x40000000, 0x08000000, 0x20000000)
                if done(libc.unshare(flags))]
        clone = 220 if ARM else 56
        for flags in (user, user | 0x20000):
            child = libc.syscall(clone, flags | 17, None, None, None, None)
            if child == 0: os._exit(0)
            if child > 0: made.append(flags)
        arguments = (ctypes.c_uint64 * 8)(user, 0, 0, 0, 17, 0, 0, 0)
        child = libc.syscall(435, arguments, 64)
        if child == 0: os._exit(0)
        return made + [child] * (child > 0)
"""


def test_no_namespace_is_made(kind):
    outcome = trial.run(
        CALLS + textwrap.dedent(NAMESPACES), "assert f(0) == []", ["f"], seconds=20, memory_mib=256, kind=kind
    )
    assert outcome.passed, outcome


def test_no_limit_is_raised_and_no_view_widened(kind):
    program = CALLS + textwrap.dedent("""
        import resource
        def raised(x):
            kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
            before = [resource.getrlimit(kind) for kind in kinds]
            for kind in kinds:
                for more in ((resource.RLIM_INFINITY,) * 2, (2**40, 2**40)):
                    try: resource.setrlimit(kind, more)
                    except (ValueError, OSError): pass
            return [resource.getrlimit(kind) for kind in kinds] != before
        def widened(x):
            calls = ((libc.mount, b"none", b"/tmp", b"tmpfs", 0, None), (libc.umount2, b"/tmp", 2),
                     (libc.chroot, b"/"), (libc.ptrace, 16, os.getppid(), 0, 0))
            return [number for number, (call, *how) in enumerate(calls) if done(call(*how))]
    """)
    tests = "assert not raised(0)\nassert widened(0) == []"
    outcome = trial.run(program, tests, ["raised", "widened"], seconds=20, memory_mib=256, kind=kind)
    assert outcome.passed, outcome


def test_threads_and_what_they_import_still_work(kind):
    program = """
import asyncio, concurrent.futures, multiprocessing.dummy, random, threading
def f(x):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        first = threads.submit(pow, x, 2).result()
    async def later(): return first
    return asyncio.run(later())
"""
    outcome = trial.run(program, "assert f(3) == 9", ["f"], seconds=20, memory_mib=512, kind=kind)
    assert outcome.passed, outcome

"""The limits that a process in the sandbox sets for itself, for good, before it reads anything that is not ours.

Resource limits bound what a process maps. They do not count memory that the kernel keeps for it elsewhere: segments,
queues and semaphores of System V, files in memory, rings. So a filter (seccomp) refuses the system calls that make
those, and those that widen the view of a process: namespaces, mounts, tracing, keys, the clock.
"""

import ctypes
import errno
import os
import platform
import resource
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38  # prctl(2)
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of the filter's machine, linux/filter.h
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
NAMESPACES = 0x7E020000  # CLONE_NEWNS to CLONE_NEWNET
CLONE_THREAD = 0x00010000
OTHER_ABI = 0x40000000  # the calls of x32 are numbered from here

# By architecture: its number in linux/audit.h, and those of the calls, from the kernel's tables.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CALLS: dict[str, tuple[int | None, int | None]] = {
    # memory that no limit of a process counts
    **{"shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197)},
    **{"semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192)},
    **{"msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180)},
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "userfaultfd": (323, 282), "bpf": (321, 280)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "perf_event_open": (298, 241)},
    # namespaces and mounts
    **{"unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41)},
    **{"mount": (165, 40), "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429)},
    **{"fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "quotactl": (179, 60)},
    # other processes, and the machine
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"pidfd_getfd": (438, 438), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89)},
    **{"swapon": (167, 224), "swapoff": (168, 225), "syslog": (103, 116), "settimeofday": (164, 170)},
    **{"clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171)},
    **{"sethostname": (170, 161), "setdomainname": (171, 162), "setrlimit": (160, 164)},
}
FORKS = {"fork": (57, None), "vfork": (58, None)}
CLONE, CLONE3, PRLIMIT = (56, 220), (435, 435), (302, 261)


def confine(
    *, seconds: int, memory: int, file_size: int, processes: int, user: int, strict: bool, forks: bool = True
) -> None:
    """Limit this process and its children, and give up root where `user` is not root.

    `seconds` of processor time, `memory` bytes of address space and `file_size` bytes of one file are each process's;
    `processes` counts those of the user; without `forks` this process may start none. Raises OSError where `strict` and
    the kernel takes no filter.
    """
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # a signal, then a kill
    limits = {"AS": memory, "FSIZE": file_size, "NPROC": processes, "NOFILE": 64, "CORE": 0}
    limits |= {"MSGQUEUE": 0, "SIGPENDING": 256}  # the kernel's memory, too
    for name, most in limits.items():
        if kind := vars(resource).get(f"RLIMIT_{name}"):  # not every system has every limit
            resource.setrlimit(kind, (most, most))
    try:
        refuse_calls(forks=forks and os.geteuid() != 0)  # the kernel counts none of root's processes
    except OSError:
        if strict:
            raise


def refuse_calls(*, forks: bool) -> None:
    """Have the kernel refuse the calls above from now on, and, without `forks`, those that start a process.

    Raises OSError where it takes no filter, or where the architecture is not known.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter of system calls for a processor of type {machine}")
    program = filter_of(machine, forks=forks)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for what, how, pointer in ((PR_SET_NO_NEW_PRIVS, 1, None), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header)):
        if prctl(what, how, pointer, 0, 0):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls (seccomp)")


def filter_of(machine: str, *, forks: bool) -> list[tuple[int, int, int, int]]:
    """The filter in the code of its machine (BPF): operation, how far to jump if so and if not, and a value."""
    at = list(ARCHITECTURES).index(machine)
    refusal, unknown = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, refusal)]
    program.append((LOAD, 0, 0, NUMBER))
    if machine == "x86_64":
        program += [(AT_LEAST, 0, 1, OTHER_ABI), (RETURN, 0, 0, unknown)]
    for numbers in (CALLS if forks else CALLS | FORKS).values():
        if (number := numbers[at]) is not None:
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, refusal)]
    program += [(EQUAL, 0, 1, CLONE3[at]), (RETURN, 0, 0, unknown)]  # flags in memory; the C library falls back
    threads_alone = [] if forks else [(ANY_OF, 1, 0, CLONE_THREAD), (RETURN, 0, 0, refusal)]
    cloning = [(LOAD, 0, 0, ARGUMENTS), (ANY_OF, 0, 1, NAMESPACES), (RETURN, 0, 0, refusal), *threads_alone]
    program += [(EQUAL, 0, len(cloning) + 1, CLONE[at]), *cloning, (RETURN, 0, 0, ALLOW)]
    new_limit = ARGUMENTS + 2 * 8  # reading a limit is harmless: the pointer to a new one is null
    program += [(EQUAL, 0, 5, PRLIMIT[at]), (LOAD, 0, 0, new_limit), (EQUAL, 0, 2, 0)]
    program += [(LOAD, 0, 0, new_limit + 4), (EQUAL, 1, 0, 0), (RETURN, 0, 0, refusal)]
    return [*program, (RETURN, 0, 0, ALLOW)]

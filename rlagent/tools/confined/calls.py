"""The system calls that a confined program may make, as a filter for the kernel (seccomp).

What is not named here is refused with EPERM: among others sockets, processes and threads, programs,
other namespaces, mounts, tracing, keys, io_uring and changing what kills the program.
"""

import errno
import functools
import tempfile

_ALLOWED = """
    access faccessat faccessat2 arch_prctl brk chdir fchdir getcwd chmod fchmod fchmodat
    clock_getres clock_gettime clock_nanosleep nanosleep gettimeofday time times
    close close_range dup dup2 dup3 fcntl flock fsync fdatasync ftruncate truncate fallocate
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd eventfd2
    poll ppoll select pselect6 pipe pipe2
    exit exit_group futex get_robust_list set_robust_list set_tid_address rseq restart_syscall
    fstat fstatfs newfstatat stat lstat statfs statx lseek readlink readlinkat
    getdents getdents64 open openat creat mkdir mkdirat rmdir unlink unlinkat rename renameat
    renameat2 umask utimensat
    getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    getpgid getsid getcpu getrandom getrlimit getrusage prlimit64 sysinfo uname
    getitimer setitimer alarm pause kill tgkill tkill
    madvise mmap mprotect mremap msync munmap mincore
    read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 sendfile
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait
    sigaltstack sched_getaffinity sched_yield sched_getparam sched_getscheduler wait4 waitid
"""
"""What Python, its standard library's modules and files in a folder need. A terminal's and a
device's ioctl is not among it: Python goes on where it is refused."""


class NoFilterError(RuntimeError):
    """The filter cannot be made here; the message says what is missing."""


@functools.cache
def program() -> bytes:
    """The filter as the kernel takes it: instructions of 8 bytes for this machine's processor.

    Raises:
        NoFilterError: pyseccomp, or the library below it, is not installed.
    """
    try:
        import pyseccomp
    except ImportError:
        raise NoFilterError(
            "pyseccomp is not installed: pip install 'rlagent[experiments]'"
        ) from None
    except RuntimeError as error:
        raise NoFilterError(f"{error}: install the system's package libseccomp2") from error
    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in _ALLOWED.split():
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        # Another processor has no such call, such as stat on aarch64.
        if number >= 0:
            calls.add_rule(pyseccomp.ALLOW, number)
    with tempfile.TemporaryFile() as file:
        calls.export_bpf(file)
        file.seek(0)
        return file.read()

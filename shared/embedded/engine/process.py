"""The engine's process: loads the libraries, and forks one limited child per conversion.

A library is loaded when a conversion first needs it, the others while there is nothing to do: the first
conversion of a new instance waits for few, and later ones for none.

Its parent writes one JSON object per line to its standard input, {"job": …}, and reads one per line
from its standard output: {"ready": true} once, then {"result": …} for each job. End of input ends it,
with whatever runs: that is how it dies with its parent, however the parent dies. (Linux's
parent-death signal follows the parent's *thread*, which may end while its process lives on.)
"""

import ctypes
import gc
import json
import os
import re
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any, NoReturn

from shared.embedded.engine.convert import convert
from shared.embedded.engine.job import Failure, Job, Result
from shared.embedded.engine.loading import Loading
from shared.embedded.engine.sandbox import refuse_network_and_programs
from shared.problems import Code

_PR_SET_PDEATHSIG = 1
_MAX_RESULT = 16 * 2**20
_NOFILE = 256
_IDLE_SECONDS = 0.1
_OUT_OF_MEMORY = re.compile(rb"bad_alloc|out of memory|cannot allocate|MemoryError", re.IGNORECASE)


def main() -> None:
    """Serve jobs until the input ends."""
    # Cycles are left for the children to collect, each its own: a collection here would copy pages.
    gc.disable()
    source, sink = _own_streams()
    loading = Loading()
    _reply(sink, {"ready": True})
    while line := _next_line(source, loading):
        job = Job.from_json(json.loads(line)["job"])
        loading.for_job(job)
        _reply(sink, {"result": _run(job, source.fileno()).to_json()})


def _next_line(source: IO[bytes], loading: Loading) -> bytes:
    """The next job, waited for while libraries are loaded; empty at the end of input."""
    left = True
    while left and not select.select([source], [], [], _IDLE_SECONDS)[0]:
        left = loading.next()
    return source.readline()


def _own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The real input and output, moved out of the way of libraries that read and print."""
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    return source, sink


def _fork() -> int:
    """`os.fork`, by a process that has one thread: only that one lives on in the child."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"a library started {threads - 1} threads when it was loaded")
    gc.freeze()  # keeps the child from copying all pages at its first collection
    return os.fork()


def _reply(sink: IO[bytes], message: dict[str, Any]) -> None:
    sink.write(json.dumps(message).encode() + b"\n")


def _run(job: Job, source: int) -> Result:
    """One conversion in a child of its own; nothing of the child is left when this returns."""
    read_end, write_end = os.pipe()
    complaints = os.memfd_create("complaints")  # the child's standard error
    parent = os.getpid()
    child = _fork()
    if child == 0:
        os.close(read_end)
        _child(job, parent, write_end, complaints)
    os.close(write_end)
    try:
        answer, late = _await(read_end, source, time.monotonic() + job.limits.wall_seconds)
    finally:
        _kill(child)
        _, status, usage = os.wait4(child, 0)
        os.close(read_end)
    said = os.pread(complaints, 2**20, 0)
    os.close(complaints)
    if late:
        return _limit("ENGINE_WALL_SECONDS", f"longer than {job.limits.wall_seconds} s")
    if answer.endswith(b"\n"):
        return Result.from_json(json.loads(answer))
    used_mb = (usage.ru_maxrss - _resident_kb()) / 1024
    # Not every library says so when an allocation fails: many just crash close to the limit.
    if used_mb > 0.8 * job.limits.memory_mb or _OUT_OF_MEMORY.search(said):
        return _limit("ENGINE_MEMORY_MB", f"more than {job.limits.memory_mb} MB of memory")
    return _death(job, status)


def _await(read_end: int, source: int, deadline: float) -> tuple[bytes, bool]:
    """What the child wrote until it closed its end, and whether its time ran out before."""
    answer = bytearray()
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([read_end, source], [], [], max(left, 0))
        if read_end in ready:
            chunk = os.read(read_end, 65536)
            answer += chunk
            if not chunk or len(answer) > _MAX_RESULT:
                return bytes(answer), False
        elif source in ready:
            # No job is sent while one runs: the parent closed its end, or died.
            raise SystemExit(0)
        elif left <= 0:
            return bytes(answer), True


def _kill(child: int) -> None:
    """End the child and everything it started; it leads a process group of its own."""
    for end in (os.killpg, os.kill):
        try:
            end(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _death(job: Job, status: int) -> Result:
    """Why a child ended without an answer."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return _limit("ENGINE_CPU_SECONDS", f"more than {job.limits.cpu_seconds} s of processor time")
        if number == signal.SIGXFSZ:
            return _limit("ENGINE_OUTPUT_MB", f"more than {job.limits.output_mb} MB for its output")
        how = f"by signal {number} ({signal.Signals(number).name})"
    else:
        how = f"with exit code {os.waitstatus_to_exitcode(status)}"
    return Result(
        error=Failure(
            Code.CONVERTER_CRASHED,
            f"The converter ended {how} while it worked on the model, which is probably damaged. "
            "Check the file, or export it again, perhaps in another format.",
        )
    )


def _limit(setting: str, what: str) -> Result:
    message = f"The conversion takes {what}. Make the model smaller, or raise {setting}."
    return Result(error=Failure(Code.LIMIT_EXCEEDED, message))


def _child(job: Job, parent: int, write_end: int, complaints: int) -> NoReturn:
    """The child's whole life. Never returns into the parent's code."""
    code = 1
    try:
        os.dup2(complaints, 2)
        gc.enable()
        _confine(job, parent, write_end)
        answer = json.dumps(convert(job).to_json()).encode() + b"\n"
        with os.fdopen(write_end, "wb") as sink:
            sink.write(answer)
        code = 0
    except BaseException:  # the traceback goes to the parent, which looks for a lack of memory in it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _confine(job: Job, parent: int, keep: int) -> None:
    """Give up what a conversion does not need, before a byte of the model is read."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    # The engine's own input and output are not the child's business.
    for low, high in ((3, keep), (keep + 1, _NOFILE)):
        os.closerange(low, high)
    limits = job.limits
    memory = _address_space() + limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # At the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.output_mb * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_NOFILE, _NOFILE))
    refuse_network_and_programs()


def _resident_kb() -> int:
    """Kilobytes of memory that this process holds, and every child with it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _address_space() -> int:
    """Bytes of address space that the loaded libraries take already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()

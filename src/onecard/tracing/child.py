"""The child process of a trace: python -m onecard.tracing.child JOB RESULT.

Everything that can go wrong in the user's program becomes a Problem that says what, where and what next; only a crash of
the process itself leaves no Result, and then the parent tells.
"""

import _thread
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from onecard.tracing.cache import hash_of
from onecard.tracing.job import Job, Problem, Result


def main(job_file: str, result_file: str) -> None:
    """Runs the job and writes the Result, whole or not at all."""
    job = msgspec.json.decode(Path(job_file).read_bytes(), type=Job)
    result = perform(job)
    partial = Path(result_file).with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(result))
    partial.replace(result_file)
    sys.stdout.flush()
    # C++ threads, atexit hooks and leftovers of the user's program have no say any more
    os._exit(0)


def perform(job: Job) -> Result:
    """One trace in this process, which must be used for nothing else."""
    from onecard.tracing.fake_cuda.native import NotPatchable
    from onecard.tracing.files import Overlay, overlaid
    from onecard.tracing.program import Unusable, import_early, local_files, run_program
    from onecard.tracing.session import Enough, Trace

    folder = Path(job.target.file).parent
    import_early(Path(job.target.file).read_text(encoding="utf-8", errors="replace"), folder)
    trace = Trace(job.profile, job.unknown, job.steps, job.routing)
    overlay = Overlay(Path(job.scratch), folder)
    start = time.perf_counter()
    stopped: list[str] = []
    failure: BaseException | None = None

    def stop(frame: FrameType | None) -> None:
        stopped.append(_place(frame, folder))
        trace.storages.close()
        raise Enough

    try:
        with overlaid(overlay), trace.running(), limited(job.limit, stop):
            run_program(job, trace)
    except Enough:
        pass
    except NotPatchable as error:
        return Result(problem=not_patchable(str(error)))
    except Unusable as error:
        return Result(
            problem=Problem(
                what=str(error),
                why="build(**settings) must return the step: a function without arguments",
                next=f"onecard trace {folder.name}/{Path(job.target.file).name}:build",
            )
        )
    except SystemExit as error:
        if error.code not in (None, 0):
            failure = error
    except BaseException as error:  # the user's program may raise anything
        failure = error
    seconds = time.perf_counter() - start
    if failure is not None:
        return Result(problem=explain(failure, job), seconds=seconds)
    if not trace.storages.sizes:
        return Result(problem=_nothing(job, stopped), seconds=seconds)
    if stopped:
        trace.notes.append(f"stopped after {job.limit:.0f} s: what came later is not in this trace")
    if overlay.written:
        trace.notes.append(
            f"wrote {len(overlay.written)} files, none of them for real: {', '.join(overlay.written[:3])}"
        )
    if overlay.programs:
        trace.notes.append(f"started other programs, whose files are real: {', '.join(overlay.programs[:3])}")
    files = {f: h for f in local_files(folder) if (h := hash_of(f)) is not None}
    return Result(cost=trace.cost(), files=files, seconds=seconds)


class limited:
    """A time limit on this thread: `stop` is called in it, and what it raises ends the program.

    With a timer of the system where there is one, since that also interrupts a sleep; else by a thread that pretends
    Ctrl-C, which Python sees between two instructions.
    """

    def __init__(self, seconds: float, stop: Callable[[FrameType | None], None]) -> None:
        self.seconds = seconds
        self.stop = stop
        self.timer: threading.Timer | None = None

    def _fired(self, number: int, frame: FrameType | None) -> None:
        self.stop(frame)

    def __enter__(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._fired)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
            return
        signal.signal(signal.SIGINT, self._fired)
        self.timer = threading.Timer(self.seconds, _thread.interrupt_main)
        self.timer.daemon = True
        self.timer.start()

    def __exit__(self, *error: object) -> None:
        if self.timer is not None:
            self.timer.cancel()
        elif hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def explain(error: BaseException, job: Job) -> Problem:
    """What the user's program raised, and where in its own files."""
    name = Path(job.target.file).name
    where = _own_line(error, Path(job.target.file).parent)
    kind = type(error).__name__
    said = str(error).strip().splitlines()[0][:300] if str(error).strip() else ""
    if isinstance(error, SystemExit):
        return Problem(
            what=f"{name} ended itself with exit code {error.code} before a step was seen",
            why=where,
            next="give it the arguments that it wants: onecard trace FILE.py -- --flag value",
        )
    if isinstance(error, EOFError):
        return Problem(
            what=f"{name} reads from the keyboard",
            why=f"a trace has nobody to answer; {where}",
            next="give it what it asks for as arguments, or trace a function that builds the step",
        )
    if "_pack_padded_sequence" in said:
        return Problem(
            what=f"{name} packs sequences of different lengths, which are not traced",
            why=f"how much is packed follows from values that a trace does not have; {where}",
            next="trace the step with the padded batch given to the recurrent layer: it holds at least as much",
        )
    if "UninitializedParameter" in said:
        return Problem(
            what=f"{name} has lazy layers, whose weights have no shape before the first call",
            why=where,
            next="give the layers their sizes, as nn.Linear(inputs, outputs) in the place of nn.LazyLinear(outputs)",
        )
    if kind in ("DataDependentOutputException", "DynamicOutputShapeException", "UnsupportedOperatorException"):
        return Problem(
            what=f"{name} uses an operator that has no meaning on fake tensors: {said}",
            why=where,
            next="leave that part out of the traced step, or register a fake for a custom kernel "
            "(torch.library.register_fake)",
        )
    if "sparse" in said.lower() or _sparse(error):
        return Problem(
            what=f"{name} computes with sparse tensors, which are not traced",
            why=f"a sparse tensor has no single storage whose life could be watched; {where}",
            next="trace the step with index_add_ or scatter_add_ in the place of the sparse product",
        )
    if "NotImplementedError" in kind and "custom" in said.lower():
        operator = said.partition("'")[2].partition("'")[0]
        return Problem(
            what=f"{name} calls {operator or 'a kernel'}, which does not run on fake tensors: {said[:120]}",
            why=where,
            next="leave it out of the traced step, or give it a fake: torch.library.register_fake",
        )
    return Problem(
        what=f"{name} raised {kind}: {said}" if said else f"{name} raised {kind}",
        why=where,
        next="run it once without onecard; if it works there, trace a smaller part: onecard trace FILE.py:build",
    )


def _sparse(error: BaseException) -> bool:
    """Whether the lines that were running speak of sparse tensors."""
    return any("sparse" in (f.line or "") for f in traceback.extract_tb(error.__traceback__))


def not_patchable(reason: str) -> Problem:
    """This PyTorch cannot pretend to have a card."""
    import torch

    return Problem(
        what=f"PyTorch {torch.__version__} cannot be traced without a GPU here: {reason}",
        why="fake CUDA needs places in PyTorch's C++ that were verified for 2.13 on Linux; a trace on the CPU instead "
        "could be wrong by a factor of two, so there is none",
        next="install the version that was verified: python -m pip install torch==2.13.0",
    )


def _nothing(job: Job, stopped: list[str]) -> Problem:
    name = Path(job.target.file).name
    if stopped:
        return Problem(
            what=f"{name} was stopped after {job.limit:.0f} s, before it used any memory of the card",
            why=f"it was at {stopped[0]}" if stopped[0] else "it was in code of a library",
            next="a longer limit (--limit 600), or trace a function that builds the step: onecard trace FILE.py:build",
        )
    return Problem(
        what=f"{name} used no memory of the card",
        why="its tensors stayed on the CPU, or it never came to its model",
        next='move model and data to "cuda" (torch.cuda.is_available() is true in a trace)',
    )


def _place(frame: FrameType | None, folder: Path) -> str:
    """Where in the user's own files a program is: "train.py line 12, in main"."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(folder) and "site-packages" not in file.parts:
            return f"{file.name} line {frame.f_lineno}, in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


def _own_line(error: BaseException, folder: Path) -> str:
    """Line of the user's own code that was running: "train.py line 12, in main: loss.backward()"."""
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(folder) and "site-packages" not in f.filename]
    if not own:
        return ""
    last = own[-1]
    return f"{Path(last.filename).name} line {last.lineno}, in {last.name}: {last.line}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

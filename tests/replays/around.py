"""What goes on around a test: threads that repeat something until its end."""

import threading
from collections.abc import Callable

__all__ = ["Around"]


class Around:
    """Threads that go on until the end, with what went wrong in them."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def go(self, work: Callable[[], None]) -> None:
        """Repeat *work* in a thread."""

        def loop() -> None:
            try:
                while not self.over.is_set():
                    work()
            except BaseException as failure:  # noqa: BLE001  the test raises it
                self.failures.append(failure)

        thread = threading.Thread(target=loop)
        thread.start()
        self._threads.append(thread)

    def end(self) -> None:
        """Wait for them; raise what went wrong."""
        self.over.set()
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

"""What a command is doing, on standard error: a bar at a terminal, lines elsewhere, nothing where a machine reads."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from retrain_eval.common.text.encoding import for_terminal

_SILENCE = 10.0  # seconds without a line after which one says what is still being done


class Steps:
    """Print what is being done, with the seconds it took; use as a context manager.

    Called with a text, it prints a line; `watch` is called with what is under way and the share that is done. At a
    terminal that moves a bar; elsewhere nothing is printed for it unless ten seconds pass without a line.

    Parameters
    ----------
    title : str
        The first line.
    console : Console
        Where to print.
    quiet : bool
        Whether to print nothing, because the output is for a machine.
    silence : float
        Seconds without a line after which one is printed.
    """

    def __init__(self, title: str, console: Console, *, quiet: bool, silence: float = _SILENCE) -> None:
        self.title, self.console, self.quiet, self.silence = title, console, quiet, silence
        self.start = self._last = time.monotonic()
        self._doing = title
        self._over = threading.Event()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Steps:
        if self.quiet:
            return self
        self.console.print(f"[bold]{for_terminal(self.title)}[/bold]")
        if self.console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task(for_terminal(self.title), total=None)
            self._bar.start()
        else:
            threading.Thread(target=self._break_silence, daemon=True).start()
        return self

    def __call__(self, text: str) -> None:
        """Print a line."""
        self._doing = text
        if not self.quiet:
            self._print(text)

    def watch(self, text: str, share: float) -> None:
        """Show what is under way, and the share that is done, from 0 to 1."""
        self._doing = text
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=for_terminal(text), total=1.0, completed=share)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._bar is not None:
            self._bar.stop()

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        self.console.print(f"  [dim]{self._last - self.start:5.1f}s[/dim]  {for_terminal(text)}")

    def _break_silence(self) -> None:
        while not self._over.wait(self.silence / 10):
            if time.monotonic() - self._last >= self.silence:
                self._print(self._doing)

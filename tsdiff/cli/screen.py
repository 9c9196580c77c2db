"""What is printed where: results on standard output, everything else on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PROSE_WIDTH = 100
PLAIN_WIDTH = 140  # columns where no terminal says how wide it is


class Screen:
    """The two streams, and the one switch that silences all but results and errors."""

    def __init__(self, *, quiet: bool = False, debug: bool = False) -> None:
        self.quiet, self.debug = quiet, debug

    @property
    def progress(self) -> bool:
        """Whether to show progress bars: someone must be there to see them."""
        return not self.quiet and _console(stderr=True).is_terminal

    def result(self, content: Any) -> None:
        """What the user asked for: text, or a rich table."""
        console = _console(stderr=False)
        if isinstance(content, str):
            console.print(content, markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(content)

    def paragraph(self, text: str) -> None:
        """A result of several sentences, broken into lines that read well."""
        from rich.padding import Padding
        from rich.text import Text

        console = _console(stderr=False)
        console.print(Padding(Text(text), (0, 2)), width=min(console.width, PROSE_WIDTH))

    def width(self) -> int:
        """Columns of standard output."""
        return _console(stderr=False).width

    def note(self, text: str) -> None:
        """What happens meanwhile; nothing when quiet."""
        if not self.quiet:
            _console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """What makes a result doubtful: said even when quiet."""
        self._marked("warning: ", "yellow", text)

    def error(self, text: str, *, hint: bool = False) -> None:
        """Why it did not work."""
        self._marked("error: ", "bold red", text)
        if hint:
            self.note("(add --debug to see where this comes from)")

    def working(self, text: str) -> AbstractContextManager[Any]:
        """A spinner beside a text while something runs."""
        return _console(stderr=True).status(text) if self.progress else nullcontext()

    def _marked(self, mark: str, style: str, text: str) -> None:
        from rich.text import Text

        line = Text.assemble((mark, style), text)
        _console(stderr=True).print(line, highlight=False, soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    # Made anew each time: the streams may have been exchanged, as tests and notebooks do.
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=PLAIN_WIDTH)
    return console

"""The command line: ``tsdiff datasets | download | train | forecast | evaluate | plot | demo``.

One module per command; what they share stands in ``app`` (errors and exit codes), ``screen`` (what
is printed where), ``options``, ``sources`` (data) and ``models``. Everything heavy is imported
inside the commands, so that help comes at once.
"""

from __future__ import annotations

from tsdiff.cli.app import app, main

__all__ = ["app", "main"]

"""HTML from nested calls; every string is escaped unless it is HTML already."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

__all__ = ["Html", "element", "join", "script_json"]

_VOID = {"br", "hr", "input", "link", "meta", "wbr"}


class Html(str):
    """Text that is HTML: it is not escaped again."""

    __slots__ = ()


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """An element with its children and attributes.

    Parameters
    ----------
    tag
        Its name.
    *children
        :class:`Html`, or anything else, whose ``str`` is escaped; None is left out.
    **attributes
        ``class_`` and the like lose their last underscore, others become hyphens: ``data_value``
        is ``data-value``. None and False are left out, True is an attribute without a value.
    """
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        parts.append(f" {name}" if value is True else f' {name}="{escape(str(value))}"')
    parts.append(">")
    if tag not in _VOID:
        parts += [join(children), f"</{tag}>"]
    return Html("".join(parts))


def join(parts: Iterable[Any]) -> Html:
    """Parts one after another, escaped where they are no HTML."""
    return Html(
        "".join(
            part if isinstance(part, Html) else escape(str(part), quote=False)
            for part in parts
            if part is not None
        )
    )


def script_json(content: Any) -> Html:
    """JSON that can stand inside a ``<script>``: no text in it can end the element or open a
    comment, and NaN is ``null``."""
    text = json.dumps(_finite(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)


def _finite(content: Any) -> Any:
    """The same with None for numbers that JSON doesn't know."""
    if isinstance(content, float):
        return content if abs(content) < float("inf") else None
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content

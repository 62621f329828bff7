"""What the YAML parser complains about, in the words of someone who writes recipes."""

from __future__ import annotations

import re

import yaml

_ADVICE = (
    # (what the parser says, what to tell), first match counts; all are about the line that the parser names.
    (r"found character '\\t' that cannot start", "a tab character; YAML wants spaces for indentation - replace it"),
    (r"found character '(.)' that cannot start", r"a value cannot begin with \1 - put it in quotes"),
    (r"found undefined alias '(.*)'", r"*\1 refers to an anchor that is not there - put it in quotes if it is text"),
    (r"but found another document", "a second document begins here; a recipe is one - remove the line of dashes"),
    (r"found unknown escape character", r"a backslash in double quotes is special - use single quotes, or write \\\\"),
    (r"but found '<scalar>'", "text goes on after a closing quote - put all of it into the quotes, or none"),
    (r"but found '([]}])'", r"a closing \1 without an opening one - remove it"),
    (r"but found '-'", "an entry of a list ('- ') among keys - write it as 'key: value', or indent it below its key"),
    (r"expected <block end>, but found ':'", "nothing stands in front of the ':' - write the key there"),
)


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int | None, str]:
    """The line, from 1, to look at first, and what is likely wrong there and how to mend it."""
    context, problem = (" ".join(str(part or "").split()) for part in (error.context, error.problem))
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return None, f"not valid YAML: {problem or context}"
    opened = error.context_mark.line if error.context_mark is not None else mark.line
    lines = [*text.splitlines(), ""]  # the end of the text has a line of its own
    if context.startswith("while parsing a flow"):
        return _brackets(lines, opened, mark.line, context, problem)
    if context.endswith("quoted scalar") and "end of stream" in problem:
        return opened + 1, "a quote is opened here and never closed - close it"
    if context == "while scanning a simple key":
        return opened + 1, _no_key(lines[opened])
    if "mapping values are not allowed here" in problem:
        return _unexpected_colon(lines, mark.line, mark.column)
    if "but found '<block mapping start>'" in problem:
        return mark.line + 1, _misaligned(lines, mark.line)
    for pattern, advice in _ADVICE:
        if found := re.search(pattern, problem):
            return mark.line + 1, found.expand(advice)
    return mark.line + 1, f"not valid YAML: {problem or context}"


def _brackets(lines: list[str], opened: int, line: int, context: str, problem: str) -> tuple[int, str]:
    """Inside a list or mapping in brackets that opened in the line `opened`."""
    bracket, closing = "{}" if "mapping" in context else "[]"
    if other := re.search(r"but got '([]}])'", problem):
        return line + 1, f"{other[1]} closes what {bracket} opened - write {closing}"
    if "<stream end>" in problem or (line > opened and closing not in "\n".join(lines[line:])):
        return opened + 1, f"the {bracket} here is never closed - add {closing}"
    return line + 1, f"a comma is missing between two entries inside {bracket} {closing}"


def _unexpected_colon(lines: list[str], line: int, column: int) -> tuple[int, str]:
    """A key where none can stand: after another on its line, or below a line that is complete already."""
    here = lines[line]
    if re.search(r":\s", here[:column]):
        return line + 1, "a second ': ' on the line - put the value in quotes, or begin a new line"
    above = next((number for number in range(line - 1, -1, -1) if _is_content(lines[number])), None)
    if above is None:
        return line + 1, "not valid YAML: no ': ' is expected here"
    if not re.search(r":(\s|$)", lines[above]):
        return above + 1, _no_key(lines[above])
    return line + 1, _too_deep(lines, line, above)


def _no_key(line: str) -> str:
    if re.match(r"\s*[\w.-]+:\S", line):
        return "a space is missing after the ':'"
    return f"{line.strip()[:40]!r} is no 'key: value' - is a ':' missing?"


def _misaligned(lines: list[str], line: int) -> str:
    """A line that stands below no key to which it could belong, and beside none."""
    levels: list[int] = []
    above = 0
    for number in filter(lambda number: _is_content(lines[number]), range(line)):
        while levels and levels[-1] >= _indent(lines[number]):
            levels.pop()
        levels.append(_indent(lines[number]))
        above = number
    if levels and _indent(lines[line]) > levels[-1]:
        return _too_deep(lines, line, above)
    known = " or ".join(filter(None, (", ".join(map(str, levels[:-1])), *map(str, levels[-1:]))))
    return (
        f"indented by {_indent(lines[line])} spaces, and the keys above by {known} - align it with those it belongs to"
    )


def _too_deep(lines: list[str], line: int, above: int) -> str:
    here, there = _indent(lines[line]), _indent(lines[above])
    return (
        f"indented deeper ({here} spaces) than line {above + 1} ({there}), which has its value already - align the two"
    )


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))

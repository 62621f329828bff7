from __future__ import annotations

import pytest
import yaml

from i2i.report.markdown import block, code, front_matter, plain, table

HOSTILE = ["a|b", "`x` ``y``", "<script>alert(1)</script>", "[l](javascript:x)", "# no\nheading", "*b* _i_ ~s~ \\"]


def test_plain_text_holds_no_markup() -> None:
    assert plain("# a_b\n\n[c](d) <e> `f` | g") == r"\# a\_b \[c\](d) \<e\> \`f\` \| g"
    assert plain(1234.5) == "1234.5"


@pytest.mark.parametrize("text", HOSTILE)
def test_code_is_fenced_beyond_its_own_backticks(text: str) -> None:
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    assert fence and shown.endswith(fence) and fence not in shown[len(fence) : -len(fence)]
    assert "\n" not in shown and "|" not in shown.replace("\\|", "")


def test_block_and_table() -> None:
    assert block("sh", ["a", "b"]) == "```sh\na\nb\n```"
    assert block("", ["```"]).startswith("````\n")
    assert table(("A", "B"), [("1", "2")], right=(1,)) == "| A | B |\n| --- | ---: |\n| 1 | 2 |"


def test_front_matter_is_yaml_whatever_it_holds() -> None:
    fields = {"license": 'x: "y" # z\n---\nä', "tags": ["gan", "a, b"]}
    text = front_matter(fields)
    assert text.startswith("---\n") and text.endswith("\n---") and text.count("\n---") == 1
    assert yaml.safe_load(text.removeprefix("---\n").removesuffix("\n---")) == fields

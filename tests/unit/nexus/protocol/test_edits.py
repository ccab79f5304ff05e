"""An edit changes its one place or none, and says which lines are nearest."""

import random

import pytest

from aiservice.nexus.protocol import Edit, edited

FILE = """export function A() {
  const a = 1
  return <p>{a}</p>
}

export function B() {
  const a = 1
    const b = 2
  return <p>{b}</p>
}
"""


def edit(search: str, replace: str = "new") -> Edit:
    return Edit(path="src/App.tsx", search=search, replace=replace)


def test_exactly_one_place_is_changed() -> None:
    assert edited(FILE, edit("  return <p>{a}</p>", "  return null")).text == FILE.replace(
        "return <p>{a}</p>", "return null"
    )
    assert edited(FILE, edit("    const b = 2", "")).text == FILE.replace("    const b = 2\n", "")


def test_lines_are_replaced_and_never_parts_of_them() -> None:
    assert edited("abc\nb\n", edit("b", "x")).text == "abc\nx\n"
    assert edited("abc\n", edit("b", "x")).text is None


def test_two_places_are_refused_with_their_lines() -> None:
    after = edited(FILE, edit("  const a = 1"))

    assert after.text is None
    assert "2 times, at lines 2, 7" in after.reason


def test_spaces_within_a_line_and_at_its_end_do_not_matter() -> None:
    after = edited("if  (a)  {\n  b()   \n}\n", edit("\nif (a) {\n  b()\n}\n", "\nc()\n"))

    assert after.text == "c()\n"


def test_an_edit_that_is_shifted_is_shifted_back() -> None:
    text = "def f():\n    if a:\n        b()\n\n        c()\n"
    moved = edited(text, edit("if a:\n    b()\n\n    c()", "if d:\n    e()\n\n    g()"))
    out = edited(text, edit("        if a:\n            b()", "        if d:\n            e()"))

    assert moved.text == "def f():\n    if d:\n        e()\n\n        g()\n"
    assert out.text == "def f():\n    if d:\n        e()\n\n        c()\n"


def test_tabs_stay_tabs() -> None:
    assert edited("x {\n\ty {\n\t\tz\n\t}\n}\n", edit("y {\n    z\n}", "y {\n    w\n}")).text == (
        "x {\n\ty {\n\t\tw\n\t}\n}\n"
    )


def test_uneven_indentation_is_no_match() -> None:
    assert edited("if a:\n    b()\n", edit("  if a:\n    b()")).text is None


def test_a_replacement_past_the_margin_is_refused() -> None:
    after = edited("a\n  b\n", edit("    a\n      b", "    a\n  b"))

    assert after.text is None
    assert "indented otherwise" in after.reason


def test_the_nearest_lines_are_quoted_with_their_numbers() -> None:
    after = edited(FILE, edit("  const b = 3\n  return <p>{b}</p>"))

    assert after.text is None
    assert "    8 |     const b = 2" in after.reason
    assert "    9 |   return <p>{b}</p>" in after.reason


def test_an_edit_that_was_made_already_says_so() -> None:
    assert "there already" in edited("a\nnew line\n", edit("old line", "new line")).reason


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (edit(" \n"), "nothing to search for"),
        (Edit(path="a", search="a", replace="b", is_closed=False), "not complete"),
        (edit("  const a = 1", "// ... existing code ..."), "left out"),
    ],
)
def test_what_cannot_be_an_edit_is_refused(wrong: Edit, words: str) -> None:
    after = edited(FILE, wrong)

    assert after.text is None
    assert words in after.reason


def test_line_ends_stay_as_they_are() -> None:
    assert edited("a\r\nb\r\nc\r\n", edit("b", "x\ny")).text == "a\r\nx\r\ny\r\nc\r\n"


def test_no_edit_of_a_thousand_lands_in_another_place() -> None:
    """Files of lines that are much alike; the search has the faults of models: spaces at ends, indentation shifted."""
    dice = random.Random(7)
    changed = wrong = 0
    for _ in range(1_000):
        lines = [f"{'    ' * dice.randrange(3)}{dice.choice('abc')} = {dice.choice('xy')}" for _ in range(30)]
        start = dice.randrange(28)
        searched = lines[start : start + dice.randint(1, 3)]
        shift = dice.choice((0, 0, 2))
        search = "\n".join(" " * shift + line + dice.choice(("", "  ")) for line in searched)
        after = edited("\n".join(lines), edit(search, "NEW"))
        if after.text is not None:
            changed += 1
            got = after.text.split("\n")
            wrong += got[:start] != lines[:start] or got[start + 1 :] != lines[start + len(searched) :]

    assert wrong == 0
    assert changed >= 200

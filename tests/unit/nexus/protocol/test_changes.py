"""Operations are applied whole or refused with a reason, and the files stay inside the project."""

import pytest

from aiservice.nexus.protocol import (
    FILE_BYTES_MAX,
    FILES_MAX,
    AddDependency,
    Delete,
    Edit,
    Operation,
    Rename,
    Write,
    apply,
    elisions,
    join,
    path_fault,
    tail,
)

FILES = {"src/App.tsx": "let a\nlet b\n", "index.html": "<p>\n"}


def refused(operation: Operation, files: dict[str, str] | None = None) -> str:
    before = FILES if files is None else files
    changes = apply(before, [operation])
    assert changes.files == before
    assert (changes.changed, changes.removed) == ((), ())
    (fault,) = changes.faults
    return fault.reason


def test_all_operations() -> None:
    changes = apply(
        FILES,
        [
            Write(path="src/b.ts", text="let c\n"),
            Edit(path="src/App.tsx", search="let b", replace="let z"),
            Rename(path="index.html", to="Index.html"),
            Edit(path="new.css", search="", replace="a {}"),
            Delete(path="src/b.ts"),
            AddDependency(package="axios"),
            AddDependency(package="axios"),
        ],
    )

    assert changes.files == {"src/App.tsx": "let a\nlet z\n", "Index.html": "<p>\n", "new.css": "a {}\n"}
    assert (changes.changed, changes.removed) == (("src/App.tsx", "Index.html", "new.css"), ("index.html",))
    assert (changes.packages, changes.faults) == (("axios",), ())


def test_what_changes_nothing_is_passed_over() -> None:
    changes = apply(FILES, [Write(path=path, text=text) for path, text in FILES.items()])

    assert (changes.files, changes.changed, changes.faults) == (FILES, (), ())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "no path"),
        ("/etc/passwd", "absolute"),
        ("C:/a.ts", "absolute"),
        ("~/a.ts", "absolute"),
        ("../a.ts", "'..'"),
        ("src/../../a.ts", "'..'"),
        ("src//a.ts", "empty"),
        ("./a.ts", "empty or '.'"),
        ("src/", "empty"),
        ("a\0.ts", "NUL"),
        ("src\\a.ts", "backslash"),
        ("con", "reserve"),
        ("src/Aux.tsx", "reserve"),
        ("lpt1.tar.gz", "reserve"),
        (".git/config", "tools"),
        ("a/.GIT/hooks/x", "tools"),
        ("node_modules/a.js", "tools"),
        ("a.ts ", "space"),
        ("a./b.ts", "dot"),
        ("a\u200b.ts", "may not have"),
        ("a\n.ts", "may not have"),
        ("a.ts:stream", "may not have"),
        ("cafe\u0301.ts", "NFC"),
        ("a" * 130 + ".ts", "over 120 bytes"),
        ("a/" * 130 + "b.ts", "longer than"),
        ("\ud800.ts", "may not have"),
    ],
)
def test_paths_that_are_refused(path: str, words: str) -> None:
    assert words in (path_fault(path) or "")
    assert words in refused(Write(path=path, text="let a\n"))
    assert path_fault("src/App.tsx") is None


@pytest.mark.parametrize(
    "path", ["src/[id].tsx", ".env", ".github/a.yml", "src/(a)/b c.ts", "été.md", "a..b.ts", "@x/y.ts"]
)
def test_paths_that_are_taken(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Write(path="src/app.tsx", text="x\n"), "only in upper and lower case"),
        (Write(path="Src/b.ts", text="x\n"), "spelled 'src'"),
        (Write(path="index.html/a.ts", text="x\n"), "which is a file"),
        (Write(path="src", text="x\n"), "is a folder"),
        (Write(path="src/App.tsx", text="x", is_closed=False), "cut off"),
        (Write(path="src/App.tsx", text=" \n"), "empty"),
        (Write(path="src/App.tsx", text="let a\n// ... rest of the code\n"), "Line 2"),
        (Write(path="new.tsx", text="...\n"), "left out"),
        (Write(path="a.txt", text="x" * (FILE_BYTES_MAX + 1)), "at most 1048576"),
        (Write(path="a.txt", text="é" * (FILE_BYTES_MAX // 2 + 1)), "at most 1048576"),
        (Write(path="a.txt", text="a\0"), "no text"),
        (Edit(path="none.ts", search="a", replace="b"), "There are: src/App.tsx, index.html"),
        (Edit(path="index.html", search="<p>", replace=""), "Nothing would be left"),
        (Edit(path="index.html", search="<b>", replace="x"), "    1 | <p>"),
        (Rename(path="none.ts", to="a.ts"), "no file"),
        (Rename(path="index.html", to="../a"), "'..'"),
        (Rename(path="index.html", to="src/App.tsx"), "already"),
        (Rename(path="index.html", to="src/app.tsx"), "only in upper and lower case"),
        (Delete(path="none.ts"), "no file"),
    ],
)
def test_operations_that_are_refused(operation: Operation, words: str) -> None:
    assert words in refused(operation)


def test_the_last_file_that_a_project_may_have() -> None:
    changes = apply({}, [Write(path=f"{number}.ts", text="x\n") for number in range(FILES_MAX + 1)])

    assert len(changes.files) == FILES_MAX
    assert [fault.path for fault in changes.faults] == [f"{FILES_MAX}.ts"]
    assert "200 files already" in refused(Write(path="more.ts", text="x\n"), dict(changes.files))


@pytest.mark.parametrize(
    "line",
    [
        "// ... rest of the code", "// rest of your component remains the same", "{/* existing code */}", "...", "  …",
        "/* ... */", "<!-- ... existing markup ... -->", "# ... (rest of the file)", "// ...existing imports...",
        "// keep the same", "// (unchanged)", "/* Other styles remain unchanged */", "// ... other routes ...",
        "// Previous code here", "[...]", "<<<<<<< SEARCH", "// code omitted", "// rest stays the same",
    ],
)  # fmt: skip
def test_left_out_code_is_seen(line: str) -> None:
    assert elisions("a.tsx", f"let a\n{line}\n") == (2,)
    assert elisions("a.tsx", f"let a\n{line}\n", before=f"{line}\nlet b\n") == ()


@pytest.mark.parametrize(
    "line",
    [
        "const all = [...rest]", "// the rest is passed on", "// loading...", "placeholder='...'", "  ...props,",
        "// keep the existing order of todos", "// other", "# Rest", "// restore the code", "<p>existing code</p>",
        "// Remaining time in ms", "f(...args)", "// remaining items count", "",
    ],
)  # fmt: skip
def test_code_is_not_taken_for_left_out(line: str) -> None:
    assert elisions("a.tsx", f"let a\n{line}\n") == ()


def test_dots_are_code_in_python_and_words_in_markdown() -> None:
    assert elisions("a.py", "def f():\n    ...\n") == ()
    assert elisions("a.py", "# ... rest of the code\n") == (1,)
    assert elisions("a.md", "# Rest of the code\n...\n") == ()
    assert elisions("a.md", "<!-- rest of the file -->\n") == (1,)


WHOLE = "".join(f"const value{number} = {number}\n" for number in range(60)) + "}\n}\n"


def test_a_continuation_is_joined_wherever_the_file_was_cut() -> None:
    for place in range(1, len(WHOLE)):
        text = WHOLE[:place]
        shown = tail(text)
        begin = text.rindex(shown) if shown else place
        assert join(text, WHOLE[begin:]) == WHOLE, place
        assert join(text, WHOLE) == WHOLE, place


def test_a_continuation_without_overlap_goes_on() -> None:
    assert join("let a = [\n  1,", " 2]\n") == "let a = [\n  1, 2]\n"
    assert join("{\n  {\n  }\n", "  }\n}\n") == "{\n  {\n  }\n  }\n}\n"
    assert join("a\nimport Re", "import React\n") == "a\nimport React\n"
    assert join("a {\n    return this.val", "return this.value\n") == "a {\n    return this.value\n"
    assert join("", "x") == "x"

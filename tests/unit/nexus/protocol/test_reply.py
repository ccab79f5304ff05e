"""Replies are read alike however they are cut, in linear time, and what is cut off is never taken for whole."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiservice.nexus.protocol import (
    AddDependency,
    Edit,
    Event,
    FileClosed,
    FileOpened,
    FileText,
    Message,
    MessageText,
    Operation,
    ReplyParser,
    Write,
    apply,
)
from tests.unit.nexus.protocol.replies import Reply, reply

DIALECTS = ("whole", "tags", "search/replace")
REPLIES = [(dialect, seed) for dialect in DIALECTS for seed in range(100)]


def read(chunks: Sequence[str], path_default: str = "") -> tuple[list[Event], tuple[Operation, ...]]:
    parser = ReplyParser(path_default=path_default)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    events += parser.close()
    assert parser.examined <= 8 * sum(map(len, chunks)) + 100
    return events, parser.operations


def steps(text: str, path_default: str = "") -> list[Operation]:
    """The operations, without messages."""
    return [operation for operation in read([text], path_default)[1] if not isinstance(operation, Message)]


def cut(text: str, dice: random.Random) -> list[str]:
    places = sorted(dice.randrange(len(text) + 1) for _ in range(dice.choice((1, 3, 20, 100))))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize(("dialect", "seed"), REPLIES)
def test_every_cut_reads_the_same(dialect: str, seed: int) -> None:
    made = reply(dialect, seed)
    events, operations = read([made.text])

    assert [operation for operation in operations if not isinstance(operation, Message)] == made.expected, made.text
    dice = random.Random(seed)
    assert read(list(made.text)) == (events, operations)
    for _ in range(8):
        assert read(cut(made.text, dice)) == (events, operations)
    assert shown(events) == [(o.path, o.text) for o in operations if isinstance(o, Write)]


def shown(events: Sequence[Event]) -> list[tuple[str, str]]:
    """What a reader of the stream saw of files."""
    files: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, FileOpened):
            files.append((event.path, ""))
        elif isinstance(event, FileText):
            files[-1] = (event.path, files[-1][1] + event.text)
        elif isinstance(event, FileClosed):
            assert (event.operation.path, event.operation.text) == files[-1]
    return files


def test_the_replies_have_every_fault() -> None:
    made: list[Reply] = [reply(dialect, seed) for dialect, seed in REPLIES]
    faults = Counter(fault for one in made for fault in one.faults)
    paths = [operation.path for one in made for operation in one.expected]

    assert set(faults) == {"crlf", "bom", "lines", "entities", "fence in tag", "tag in fence", "truncation"}
    assert min(faults.values()) >= 5, faults
    assert sum(".." in path for path in paths) >= 50
    assert sum("rest of the code" in one.text for one in made) >= 30
    assert sum("```bash" in one.text for one in made) >= 30


@pytest.mark.parametrize(("dialect", "seed"), REPLIES)
def test_nothing_unsound_of_a_reply_is_applied(dialect: str, seed: int) -> None:
    made = reply(dialect, seed)
    changes = apply({}, read([made.text])[1])

    assert not [path for path in changes.files if ".." in path or path.startswith("/")]
    assert not [path for path, text in changes.files.items() if "rest of the code" in text and not path.endswith(".md")]
    assert "src/Last.tsx" not in changes.files


PIECES = (
    "```", "````", "~~~", "```tsx", "\n", "\r\n", "<file path=\"a.tsx\">", "</file>", "<file", " path='b.ts'>",
    "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "src/App.tsx", "// a.ts\n", "&lt;", "<", "`", "x", " ",
    "<delete path=a/>", "<edit path='c.ts'>", "</edit>", "# README.md\n", "...", "\0", "é", "\u2028", "\r", "<File>",
    "\ufeff",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.randoms(use_true_random=False))
def test_any_text_in_any_cut_reads_the_same(pieces: list[str], dice: random.Random) -> None:
    text = "".join(pieces)
    whole = read([text], "src/App.tsx")

    assert read(list(text), "src/App.tsx") == whole
    assert read(cut(text, dice), "src/App.tsx") == whole
    shown(whole[0])


def calls(work: Callable[[], object]) -> int:
    """The calls that some work makes, those into C among them."""
    count = 0

    def counted(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "unit",
    [
        "src/a.ts\n```ts\nlet x = 1\n```\n",
        "<file path='a.ts'>x</file>",
        "<file path='a.ts'>\n",
        "<file path='",
        "<",
        "`",
        "```\n",
        "```tsx\n",
        "a.ts\n",
        "&lt;",
        "<<<<<<< SEARCH\n",
        "a\n=======\n",
        "<file\n",
        " ",
        "\r",
    ],
)
def test_twice_the_reply_takes_twice_the_work(unit: str) -> None:
    def examined(count: int) -> int:
        parser = ReplyParser()
        parser.feed(unit * count)
        parser.close()
        return parser.examined

    small, large = (calls(lambda count=count: read([unit * count])) for count in (200, 400))

    assert large <= 2.1 * small + 100
    assert examined(400) <= 2.1 * examined(200) + 100
    one, two = (calls(lambda count=count: read(list(unit * count))) for count in (100, 200))
    assert two <= 2.1 * one + 100


def test_a_block_without_a_path_is_the_default_file_once() -> None:
    text = "Run\n```bash\nnpm i\n```\nand\n```jsx\nlet a\n```\n```jsx\nlet b\n```\n"

    assert steps(text) == []
    assert steps(text, "src/App.jsx") == [Write(path="src/App.jsx", text="let a\n")]


@pytest.mark.parametrize(
    "text",
    [
        "package.json\n```bash\nnpm i react\n```\n",
        "As in `src/App.tsx`, use:\n```tsx\nlet a\n```\n",
        "### Vue.js\n```js\nlet a\n```\n",
        "Use `<file path='a.ts'>` tags.\n",
        "<File className='big' />\n<Delete /> <edit>\n",
        "```\nsrc/a.ts\nsrc/b.ts\n```\n",
        "No code, only words about a < b.\n",
        "<file>\nwords\n",
        "a.ts is a file\n\nb.ts\n\nc\n",
    ],
)
def test_talk_is_no_operation(text: str) -> None:
    (message,) = read([text])[1]

    assert isinstance(message, Message)
    assert message.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "// src/a.tsx\n```tsx\nlet a\n```\n",
        "<!-- src/a.tsx -->\n\n```\nlet a\n```\n",
        "Create `src/a.tsx`:\n```\nlet a\n```\n",
        "2. **src/a.tsx**\n   ```ts\n   let a\n   ```\n",
        "#### File: `src/a.tsx` (updated)\n```tsx\nlet a\n```",
        "```src/a.tsx\nlet a\n```\n",
        "```tsx {1,2} file=src/a.tsx\nlet a\n```\n",
        "```tsx:src/a.tsx\nlet a\n```\n",
        "<file src/a.tsx>let a</file>",
        "./src/a.tsx\n```tsx\nlet a\n```\n",
        "<file path='./src/a.tsx'>let a</file>",
        "<boltAction type='file' filePath='src/a.tsx'>\nlet a\n</boltAction>\n<boltAction type='shell'>npm i\n",
        "<file>\n// src/a.tsx\nlet a\n</file>\n",
        "<write-file path={'src/a.tsx'}>\n```tsx\n// src/a.tsx\nlet a\n```\nSo much.\n</write-file>",
        "```tsx\n<file path='src/a.tsx'>\nlet a\n</file>\n```\n",
        "src/a.tsx\n```tsx\n<file path='src/a.tsx'>\nlet a\n</file>\n```\n",
    ],
)
def test_a_path_is_found_wherever_models_put_it(text: str) -> None:
    assert steps(text) == [Write(path="src/a.tsx", text="let a\n")]


def test_a_language_that_is_called_as_a_file_is_no_path() -> None:
    assert steps("```dockerfile\n# Dockerfile\nFROM x\n```\n") == [Write(path="Dockerfile", text="FROM x\n")]


def test_a_missing_end_tag_leaves_the_file_unclosed() -> None:
    text = '<file path="a.ts">\nlet a\n<file path="b.ts">\nlet b\n</file>\n'

    assert steps(text) == [Write(path="a.ts", text="let a\n", is_closed=False), Write(path="b.ts", text="let b\n")]


def test_a_fence_that_is_cut_in_its_end_mark_is_truncated_without_it() -> None:
    parser = ReplyParser()
    parser.feed("a.ts\n```\nlet a\n``")
    parser.close()

    assert parser.truncated == Write(path="a.ts", text="let a\n", is_closed=False)


def test_a_component_s_tag_is_no_end_of_a_file() -> None:
    body = "const a = <File>\n  </File>\nconst b = <File x='1'></File>\nconst c = <File/>\n"

    for name in ("file", "File", "FILE"):
        assert steps(f'<{name} path="a.tsx">\n{body}</{name}>\n') == [Write(path="a.tsx", text=body)]


def test_entities_stay_where_anything_is_raw() -> None:
    raw = "<p>&lt;b&gt;</p>\n"

    assert steps(f"a.html\n```\n{raw}```\n") == [Write(path="a.html", text=raw)]
    assert steps("a.ts\n```\nlet a = '&lt;'\n```\n") == [Write(path="a.ts", text="let a = '&lt;'\n")]
    assert steps("a.html\n```\n&lt;p&gt;&amp;lt;&lt;/p&gt;\n```\n") == [Write(path="a.html", text="<p>&lt;</p>\n")]


def test_edits_go_on_in_the_file_named_last_and_broken_ones_are_not_closed() -> None:
    block = "<<<<<<< SEARCH\n{}\n=======\nz\n>>>>>>> REPLACE\n"
    text = "a.ts\n" + block.format("x") + block.format("y") + "<<<<<<< SEARCH\nq\n" + block.format("r\n=======\ns")
    edits = [operation for operation in steps(text) if isinstance(operation, Edit)]

    assert [(edit.path, edit.search, edit.is_closed) for edit in edits] == [
        ("a.ts", "x", True), ("a.ts", "y", True), ("a.ts", "q", False), ("a.ts", "r", False),
    ]  # fmt: skip


def test_packages_and_messages_come_in_their_order() -> None:
    events, operations = read(['One <add-dependency packages="axios, zod"/> two\n'])

    assert operations == (
        Message(text="One"), AddDependency(package="axios"), AddDependency(package="zod"), Message(text="two"),
    )  # fmt: skip
    assert [event.text for event in events if isinstance(event, MessageText)] == ["One ", " two\n"]

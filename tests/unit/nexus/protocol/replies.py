"""Replies as models write them, made from a seed: three dialects and the faults that are known of models."""

import random
from dataclasses import dataclass, field

from aiservice.nexus.protocol import Delete, Edit, Operation, Rename, Write

BODIES = {
    "tsx": (
        'import { useState } from "react"\n\nexport default function App() {\n'
        "  const [n, setN] = useState(0)\n  return <button onClick={() => setN(n + 1)}>{n} &lt; 3</button>\n}\n",
        'const sample = `\n  ```js\n  let x = 1\n  ```\n`\nexport const Icon = () => <File name="x"></File>\n',
    ),
    "html": ("<!doctype html>\n<title>Todo &amp; more</title>\n<p>a &lt; b</p>\n", "<div>\n\n</div>\n"),
    "css": (".a { color: red }\n", "@media (min-width: 1px) {\n  .b { margin: 0 }\n}\n"),
    "vue": ("<script setup>\nlet a = 1\n</script>\n<template><p>{{ a }}</p></template>\n",),
    "json": ('{\n  "name": "todo"\n}\n',),
    "md": ("# Todo\n\nStart it:\n\n```bash\nnpm run dev\n```\n\nDone.\n",),
}
NAMES = ("src/App", "index", "src/pages/Home", "README", "src/[id]", "../escape", "/abs/olute", "a/../../b")
PREAMBLES = (
    "",
    "Sure! Here is the app.\n\n",
    "I changed `src/App.tsx` so that 1 < 2 <b>holds</b>.\n\n",
    "# Plan\n\n1. One\n2. Two\n\n",
)


@dataclass
class Reply:
    """The text, what has to be read of it (messages left out), and the faults that were put in."""

    text: str
    expected: list[Operation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def reply(dialect: str, seed: int) -> Reply:
    dice = random.Random(f"{dialect}{seed}")
    made = Reply(dice.choice(PREAMBLES))
    writer = {"whole": _whole, "tags": _tags, "search/replace": _edit}[dialect]
    for number in range(dice.randint(1, 4)):
        writer(dice, made, number)
        made.text += dice.choice(("", "\n", "\nThat was it.\n\n"))
    if dice.random() < 0.3:
        _cut_off(made, dialect)
    if dice.random() < 0.3:
        made.faults.append("crlf")
        made.text = made.text.replace("\n", "\r\n")
    if dice.random() < 0.3:
        made.faults.append("bom")
        made.text = "\ufeff" + made.text
    return made


def _file(dice: random.Random, number: int) -> tuple[str, str, str]:
    kind = dice.choice(sorted(BODIES))
    body = dice.choice(BODIES[kind])
    if dice.random() < 0.15:
        body += "// ... rest of the code\n"
    return f"{dice.choice(NAMES)}{number}.{kind}", kind, body


def _whole(dice: random.Random, made: Reply, number: int) -> None:
    path, kind, body = _file(dice, number)
    fence = "````" if kind == "md" and dice.random() < 0.5 else dice.choice(("```", "```", "~~~"))
    heading, info, first = dice.choice(
        (
            (f"{path}\n", kind, ""),
            (f"### {number + 1}. `{path}`\n\n", kind, ""),
            (f"**{path}**:\n", kind, ""),
            (f"File: {path} (new)\n\n\n", "", ""),
            ("", f"{kind} {path}", ""),
            ("", f'{kind} title="{path}"', ""),
            ("", f"{kind}:{path}", ""),
            ("", kind, f"// {path}\n"),
            ("", kind, f"<!-- {path} -->\n"),
            (f"## {path}\n", kind, f"/* {path} */\n"),
        )
    )
    if kind == "json" and dice.random() < 0.5:
        body = "\n" + body
    made.text += f"{heading}{fence}{info}\n{first}{body}{fence}\n"
    made.expected.append(Write(path=path, text=body.lstrip("\n")))


def _tags(dice: random.Random, made: Reply, number: int) -> None:
    path, kind, body = _file(dice, number)
    if dice.random() < 0.15:
        made.text += dice.choice(
            (f'<delete path="{path}"/>\n', f"<DELETE file='{path}'></DELETE>\n", f"<delete name={path}/>\n")
        )
        made.expected.append(Delete(path=path))
        return
    if dice.random() < 0.1:
        made.text += f'<dyad-rename from="{path}"\n  to="src/b{number}.ts"></dyad-rename>\n'
        made.expected.append(Rename(path=path, to=f"src/b{number}.ts"))
        return
    tag = dice.choice(("file", "FILE", "File", "write", "dyad-write"))
    name = dice.choice(("path", "file", "filePath", "name", "filename", "src", "where", "PATH"))
    quote = dice.choice(('"', "'", ""))
    opened = f"<{tag} {name}={quote}{path}{quote}>"
    if dice.random() < 0.15:
        made.faults.append("lines")
        opened = f"<{tag}\n  {name}={quote}{path}{quote}\n>"
    if dice.random() < 0.5 and kind == "html":
        made.faults.append("entities")
        escaped = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        made.text += f"{opened}\n{escaped}</{tag}>\n"
    elif dice.random() < 0.3 and kind != "md":
        made.faults.append("fence in tag")
        made.text += f"{opened}\n```{kind}\n{body}```\n</{tag}>\n"
    elif dice.random() < 0.3:
        made.faults.append("tag in fence")
        made.text += f"```xml\n{opened}\n{body}</{tag}>\n```\n"
    else:
        end = dice.choice((tag, tag, tag.swapcase())) if tag != "File" else tag
        made.text += f"{opened}\n{body}</{end}>\n"
    made.expected.append(Write(path=path, text=body))


def _edit(dice: random.Random, made: Reply, number: int) -> None:
    path, kind, body = _file(dice, number)
    search, replace = body.rstrip("\n"), dice.choice(("", "let b = 2", "<p>\n\n  b\n</p>"))
    arrows = dice.choice((5, 7, 9))
    new = f"{replace}\n" if replace else ""
    block = f"{'<' * arrows} SEARCH\n{search}\n{'=' * arrows}\n{new}{'>' * arrows} REPLACE\n"
    made.text += dice.choice(
        (
            f"{path}\n```{kind}\n{block}```\n",
            f"```\n{path}\n{block}```\n",
            f"{path}\n{block}",
            f'<edit path="{path}">\n{block}</edit>\n',
            f"<search-replace file='{path}'>\n```\n{block}```\n</search-replace>\n",
        )
    )
    made.expected.append(Edit(path=path, search=search, replace=replace))


def _cut_off(made: Reply, dialect: str) -> None:
    made.faults.append("truncation")
    path, body = "src/Last.tsx", "export const last = () => {\n  return <p>the e"
    if dialect == "search/replace":
        made.text += f"\n{path}\n<<<<<<< SEARCH\nlet a\n=======\nlet b"
        made.expected.append(Edit(path=path, search="let a", replace="let b", is_closed=False))
    elif dialect == "tags":
        made.text += f'\n<file path="{path}">\n{body}'
        made.expected.append(Write(path=path, text=body, is_closed=False))
    else:
        made.text += f"\n{path}\n```tsx\n{body}"
        made.expected.append(Write(path=path, text=body, is_closed=False))

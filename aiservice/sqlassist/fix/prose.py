"""What models and people write around a statement, and in it, that is no SQL."""

import re
from collections.abc import Callable, Iterator

from aiservice.sqlassist.fix.model import Draft, change
from aiservice.sqlassist.fix.words import Word, text_of, words_of

_FENCE = re.compile(r"```[ \t]*(?P<tag>[\w+-]*)[ \t]*(?P<body>.*?)(?:```|\Z)", re.DOTALL)
_TAGS = re.compile(
    r"^(?:[\w-]*sql[\w-]*|bigquery|duckdb|sqlite3?|tsql|snowflake|oracle|text|plaintext)$", re.IGNORECASE
)
_MARKS = re.compile(r"<\|[\w ]+\|>|</?s>|\[/?INST\]|</?(?:sql|code|pre|p|br)\s*/?>", re.IGNORECASE)
_ESCAPES = re.compile(r"\\([_*#\[\]()<>=%.-])")
_ENTITIES = (("&gt;", ">"), ("&lt;", "<"), ("&amp;", "&"), ("&quot;", '"'), ("&#39;", "'"), ("&nbsp;", " "))
_GLYPHS = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u2032": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ",
        "\u2003": " ", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\uff0c": ",", "\uff08": "(", "\uff09": ")",
        "\uff1b": ";", "\u00d7": "*", "\u2264": "<=", "\u2265": ">=", "\u2260": "<>", "\ufeff": "", "\u200b": "",
        "\u200c": "", "\u200d": "", "\u2060": "",
    }
)  # fmt: skip
_STRING = re.compile(r"('(?:[^']|'')*')")
_LABEL = re.compile(
    r"^\s*(?:\#+\s*)?(?:[Hh]ere(?:'s| is)[^:\n]*|[Aa]nswer|A|[Oo]utput|[Rr]esult|[Rr]esponse|"
    r"(?:the )?(?:corrected |final )?(?:(?:SQL|sql)(?:ite)?(?: [Qq]uery| [Ss]tatement)?|[Qq]uery))\s*:\s*(?=\S)"
)
_STARTS = frozenset(
    """
    SELECT WITH INSERT UPDATE DELETE CREATE ALTER DROP MERGE EXPLAIN VALUES REPLACE TRUNCATE GRANT REVOKE SET COPY CALL
    EXECUTE
    """.split()  # noqa: SIM905  # a list of words reads better as text
)
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:#|\*|-\s|Explanation|Note|This |The |In this|Here ))")
_HEAD_CHARACTERS_MAX = 2_000


def bare(text: str) -> Draft:
    """The text without fences, labels, marks of chat templates, Markdown's escapes, and typographers' signs."""
    draft = Draft(text.strip())
    for rule in (_fence, _marks, _glyphs, _escapes, _label):
        draft = rule(draft)
    return draft


def statements(text: str) -> list[str]:
    """The parts of a text that semicolons make, those without a word left out."""
    parts: list[list[Word]] = [[]]
    for word in words_of(text):
        if word.text == ";":
            parts.append([])
        else:
            parts[-1].append(word)
    return [text_of(part) for part in parts if part]


def shorter(draft: Draft) -> Iterator[Draft]:
    """The text without what may be talk before it or after it."""
    text = draft.text
    for match in _PARAGRAPH.finditer(text):
        if match.start() > 0:
            tail = text[match.start() :]
            why = "What follows the statement is no SQL."
            yield draft.edited(text[: match.start()].rstrip(), change("prose", tail, "", why=why), 0.4)
    for word in words_of(text[:_HEAD_CHARACTERS_MAX]):
        if word.start > 0 and word.upper in ("SELECT", "WITH") and not text[: word.start].rstrip().endswith("("):
            head = text[: word.start]
            is_sql = any(one.upper in ("FROM", "UNION", "INTERSECT", "EXCEPT") for one in words_of(head))
            cost = 2.5 if is_sql else 0.6
            yield draft.edited(
                text[word.start :], change("prose", head, "", why="What stands before it is no SQL."), cost
            )
            return


def is_start(text: str) -> bool:
    """Whether a text begins as statements do."""
    first = next(iter(words_of(text[:200])), None)
    return first is not None and (first.upper in _STARTS or first.text == "(")


def _fence(draft: Draft) -> Draft:
    if "```" not in draft.text:
        return draft
    blocks = []
    for match in _FENCE.finditer(draft.text):
        tag, body = match["tag"], match["body"]
        blocks.append((body if not tag or _TAGS.match(tag) else f"{tag} {body}").strip())
    body = next((block for block in blocks if is_start(block)), next((block for block in blocks if block), ""))
    before = draft.text[: draft.text.index("```")].strip()
    if is_start(before):
        body = before
    return draft.edited(body, change("code_fence", draft.text, body, why="The statement was in a code fence."), 0.1)


def _marks(draft: Draft) -> Draft:
    text = _MARKS.sub(" ", draft.text).strip()
    if text == draft.text:
        return draft
    return draft.edited(text, change("marks", draft.text, text, why="Marks of chat or web pages are no SQL."), 0.1)


def has_glyphs(text: str) -> bool:
    """Whether typographers' signs stand outside of the strings."""
    return _outside(text, _plain_signs) != text


def _outside(text: str, rule: Callable[[str], str]) -> str:
    """The text changed by a rule, but for what stands in single quotes."""
    parts = _STRING.split(text)
    parts[::2] = [rule(part) for part in parts[::2]]
    return "".join(parts)


def _plain_signs(text: str) -> str:
    text = text.translate(_GLYPHS)
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    return text


def _glyphs(draft: Draft) -> Draft:
    text = _outside(draft.text, _plain_signs)
    if text == draft.text:
        return draft
    why = "Typographic quotes, dashes and HTML's signs are none of SQL's."
    return draft.edited(text, change("signs", draft.text, text, why=why), 0.2)


def _escapes(draft: Draft) -> Draft:
    """Outside of strings: there a backslash may be meant."""
    text = _outside(draft.text, lambda part: _ESCAPES.sub(r"\1", part))
    if text == draft.text:
        return draft
    return draft.edited(text, change("markdown", draft.text, text, why="Markdown's backslashes are no SQL."), 0.1)


def _label(draft: Draft) -> Draft:
    match = _LABEL.match(draft.text)
    if match is None:
        return draft
    text = draft.text[match.end() :].strip()
    return draft.edited(text, change("prose", match[0], "", why="A label before the statement is no SQL."), 0.1)

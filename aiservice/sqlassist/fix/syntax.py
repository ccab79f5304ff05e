"""Repairs of a text where the parser stopped: keywords, lists, brackets, quotes, words too few or too many."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from rapidfuzz.distance import DamerauLevenshtein

from aiservice.sqlassist.fix.model import Draft, change
from aiservice.sqlassist.fix.words import Word, depths, new, text_of

KEYWORDS = frozenset(
    """
    SELECT DISTINCT FROM WHERE GROUP ORDER BY HAVING LIMIT OFFSET JOIN INNER LEFT RIGHT FULL OUTER CROSS NATURAL ON
    USING AND OR NOT IN EXISTS BETWEEN LIKE IS NULL AS ASC DESC UNION ALL INTERSECT EXCEPT CASE WHEN THEN ELSE END WITH
    CAST OVER PARTITION INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE
    """.split()  # noqa: SIM905  # a list of words reads better as text
)
_CLAUSES = ("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET")
_SET_OPERATIONS = frozenset({"UNION", "INTERSECT", "EXCEPT"})
_CALLED = frozenset(
    {
        "COUNT",
        "SUM",
        "AVG",
        "MIN",
        "MAX",
        "IN",
        "EXISTS",
        "ABS",
        "ROUND",
        "LOWER",
        "UPPER",
        "COALESCE",
        "NULLIF",
        "LENGTH",
    }
)
_AGGREGATES = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX"})
_OPERATORS: Mapping[tuple[str, str], str] = {
    ("=", ">"): ">=", ("=", "<"): "<=", (">", "="): ">=", ("<", "="): "<=", ("!", "="): "!=", ("<", ">"): "<>",
    ("&", "&"): "AND", ("|", "|"): "||", ("==", "="): "=", ("!=", "="): "!=",
}  # fmt: skip
# More than one of these after each other is never meant.
_ONCE = frozenset(
    """
    SELECT FROM WHERE GROUP HAVING ORDER LIMIT OFFSET BY AS ON AND OR JOIN IN LIKE BETWEEN WHEN THEN ELSE SET WITH
    DISTINCT
    """.split()  # noqa: SIM905  # a list of words reads better as text
)
_QUERIED = frozenset({"IN", "EXISTS", "FROM", "JOIN", "AS", "ANY", "ALL"})
_UNENDED = frozenset(
    {"WHERE", "AND", "OR", "ON", "FROM", "JOIN", "HAVING", "IN", "LIKE", "NOT", "GROUP", "ORDER", "AS"}
)
_CUT = ("SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "DESC", "ASC", "AND", "NOT", "AS", "ON",
        "BY", "IN", "OR")  # fmt: skip
WINDOW = 4
# How far from the stop a bracket is tried, and from how many words on only what is near the stop.
NEAR_WORDS = 40
LONG_WORDS = 500


@dataclass(frozen=True)
class Stop:
    """Where the parser stopped: the pieces of the text, and the place of the one that it did not expect.

    `names` are the schema's names in lower case, `tables` those of its tables.
    """

    draft: Draft
    words: Sequence[Word]
    place: int
    names: frozenset[str]
    tables: frozenset[str]
    quote: str = '"'

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How often each keyword stands in the text."""
        return Counter(word.upper for word in self.words)

    @cached_property
    def depths(self) -> Sequence[int]:
        return depths(self.words)

    def put(self, place: int, text: str, cost: float) -> Draft:
        """With a word more."""
        rest = [*self.words[place:]]
        if rest and not rest[0].space and rest[0].text not in (")", ",", "."):
            rest[0] = replace(rest[0], space=" ")
        words = [*self.words[:place], new(text), *rest]
        return self._changed(words, "missing", place, why=f"{text} is missing here.", cost=cost)

    def drop(self, place: int, count: int = 1, *, rule: str = "stray", why: str = "", cost: float) -> Draft:
        words = [*self.words[:place], *self.words[place + count :]]
        gone = text_of(self.words[place : place + count])
        reason = why or f"{gone} is one too many here."
        return self.draft.edited(text_of(words), change(rule, gone, "", why=reason), cost)

    def swap(self, place: int, count: int, word: Word, *, rule: str, why: str, cost: float) -> Draft:
        words = [*self.words[:place], word, *self.words[place + count :]]
        return self.draft.edited(
            text_of(words), change(rule, text_of(self.words[place : place + count]), word.text, why=why), cost
        )

    def _changed(self, words: Sequence[Word], rule: str, place: int, *, why: str, cost: float) -> Draft:
        before = text_of(self.words[max(0, place - 3) : place + 2])
        after = text_of(words[max(0, place - 3) : place + 3])
        return self.draft.edited(text_of(words), change(rule, before, after, why=why), cost)


def proposals(stop: Stop) -> Iterator[Draft]:
    """Texts that are one repair away."""
    for rule in _RULES:
        yield from rule(stop)


def tidied(draft: Draft, words: Sequence[Word]) -> Draft:
    """Without what some parsers pass over: empty places in lists, operators in two pieces, words said twice, clauses
    of nothing; the same draft where there is none of that."""
    stop = Stop(draft, words, 0, frozenset(), frozenset())
    for place, word in enumerate(words):
        if word.text == "," and word.kind == "sign" and _is_gap(words, place):
            why = "A comma stands where nothing follows in the list."
            return stop.drop(place, rule="comma", why=why, cost=1.0)
        other = words[place + 1] if place + 1 < len(words) else None
        if word.upper == "BY" and place and (other is None or other.upper in _CLAUSES or other.text == ")"):
            return stop.drop(place - 1, 2, why="Nothing follows it.", cost=1.1)
        if other is None:
            if word.upper in _UNENDED and place:
                return stop.drop(place, rule="truncated", why="The statement breaks off here.", cost=1.0)
            break
        mended = _tidied_pair(stop, place, (word, other))
        if mended is not None:
            return mended
    return next(_order(stop), draft)


def _tidied_pair(stop: Stop, place: int, pair: tuple[Word, Word]) -> Draft | None:
    word, other = pair
    joined = _OPERATORS.get((word.text, other.text))
    if joined and word.kind == other.kind == "sign":
        why = f"{word.text}{other.text} is no operator."
        return stop.swap(place, 2, word.saying(joined), rule="operator", why=why, cost=1.0)
    is_twice = word.upper in _ONCE and word.upper == other.upper
    if is_twice or (word.text == other.text and word.text in ("=", "<", ">") and word.kind == "sign"):
        return stop.drop(place, why=f"{word.text} is said twice.", cost=1.0)
    is_null = word.upper in ("IS", "NOT") and len(other.upper) > 2 and other.upper not in (*KEYWORDS, "TRUE", "FALSE")
    is_null = is_null and (word.upper == "IS" or (place > 0 and stop.words[place - 1].upper == "IS"))
    if is_null and DamerauLevenshtein.distance(other.upper, "NULL", score_cutoff=1) <= 1:
        why = f"{other.text} is no value; NULL is near."
        return stop.swap(place + 1, 1, other.saying("NULL"), rule="keyword", why=why, cost=1.0)
    return None


def _is_gap(words: Sequence[Word], place: int) -> bool:
    after = words[place + 1] if place + 1 < len(words) else None
    before = words[place - 1] if place else None
    if after is None or after.text in (",", ")", ";") or after.upper in ("FROM", "WHERE", "GROUP", "HAVING"):
        return True
    if after.upper in ("ORDER", "LIMIT"):
        return place + 2 < len(words) and (words[place + 2].upper == "BY" or words[place + 2].kind == "number")
    return before is None or before.upper in ("SELECT", "BY", "DISTINCT", "WHERE") or before.text == "("


def _typos(stop: Stop) -> Iterator[Draft]:
    """A word that is near a keyword; the nearer to the stop the likelier."""
    for place, word in enumerate(stop.words):
        if word.kind != "word" or word.upper in KEYWORDS:
            continue
        is_name = word.text.lower() in stop.names
        is_called = place + 1 < len(stop.words) and stop.words[place + 1].text == "("
        distance_away = stop.place - place
        is_near = 0 <= distance_away <= WINDOW
        if not is_near and len(stop.words) > LONG_WORDS:
            continue
        limit = 1 if len(word.text) <= 4 else 2
        for keyword in KEYWORDS:
            if abs(len(keyword) - len(word.text)) > limit or len(word.text) < 2:
                continue
            distance = DamerauLevenshtein.distance(word.upper, keyword, score_cutoff=limit)
            if distance <= limit and not (is_name and distance > 1) and not (is_called and keyword not in ("IN", "ON")):
                cost = 0.5 + 0.5 * distance + (0.0 if is_near else 0.6) + (0.6 if is_name else 0.0)
                cost += 0.3 if len(keyword) <= 2 else 0.0
                why = f"{word.text} is no keyword; {keyword} is near."
                yield stop.swap(place, 1, word.saying(keyword), rule="keyword", why=why, cost=cost)


def _spaces(stop: Stop) -> Iterator[Draft]:
    """A blank that is missing beside a keyword, or stands a letter too early or too late."""
    for place in range(max(0, stop.place - WINDOW), min(stop.place + 2, len(stop.words))):
        word = stop.words[place]
        if word.kind != "word" or word.text.lower() in stop.names:
            continue
        other = stop.words[place + 1] if place + 1 < len(stop.words) else None
        is_two = other is not None and other.kind == "word" and other.upper not in KEYWORDS
        for count in (1, 2) if is_two else (1,):
            text = word.text + (other.text if other is not None and count == 2 else "")
            for first, second in _cuts(text):
                name = (second if first.upper() in _CUT else first).lower()
                cost = (1.1 if name in stop.names else 1.5) + (0.2 if len(name) < 2 else 0.0)
                parted = word.saying(f"{first} {second}")
                why = f"A blank is missing between {first} and {second}."
                if text.upper() not in KEYWORDS:
                    yield stop.swap(place, count, parted, rule="blank", why=why, cost=cost)


def _cuts(text: str) -> Iterator[tuple[str, str]]:
    upper = text.upper()
    for keyword in _CUT:
        if len(text) > len(keyword) and upper.startswith(keyword):
            yield text[: len(keyword)], text[len(keyword) :]
        if len(text) > len(keyword) and upper.endswith(keyword):
            yield text[: -len(keyword)], text[-len(keyword) :]


def _names(stop: Stop) -> Iterator[Draft]:
    """A keyword that is a name of the schema takes quotes."""
    for place in range(max(0, stop.place - 2), min(stop.place + 1, len(stop.words))):
        word = stop.words[place]
        if word.kind == "word" and word.text.lower() in stop.names:
            quoted = replace(word.saying(f"{stop.quote}{word.text}{stop.quote}"), kind="quoted")
            why = f"{word.text} is a keyword too; as a name it takes quotes."
            yield stop.swap(place, 1, quoted, rule="quoted_name", why=why, cost=0.9)


def _lists(stop: Stop) -> Iterator[Draft]:
    """A comma that is missing before the word where the parser stopped, or shortly before it."""
    for place in range(max(1, stop.place - 2), min(stop.place + 1, len(stop.words))):
        before, after = stop.words[place - 1], stop.words[place]
        ends = (before.kind in ("word", "quoted", "string", "number") and before.upper not in KEYWORDS) or (
            before.text in (")", "*")
        )
        begins = after.kind in ("word", "quoted", "string", "number") and after.upper not in (KEYWORDS - {"CASE"})
        if ends and begins and _clause_at(stop, place) not in ("WHERE", "ON", "HAVING", "AND", "OR", "LIMIT"):
            words = [*stop.words[:place], Word(",", "sign", -1), *stop.words[place:]]
            why = f"A comma is missing between {before.text} and {after.text}."
            shown = change("comma", f"{before.text} {after.text}", f"{before.text}, {after.text}", why=why)
            yield stop.draft.edited(text_of(words), shown, 1.0 if place == stop.place else 1.1)


def _clause_at(stop: Stop, place: int) -> str:
    """The last keyword of a clause before a place, not further out than it."""
    level = stop.depths[place]
    for other in range(place - 1, -1, -1):
        if stop.depths[other] < level:
            return ""
        upper = stop.words[other].upper
        if stop.depths[other] == level and upper in ("ON", "AND", "OR", "SET", "VALUES", "BY", *_CLAUSES):
            return upper
    return ""


def _brackets(stop: Stop) -> Iterator[Draft]:
    """One bracket more or less than there should be."""
    level = sum((word.text == "(") - (word.text == ")") for word in stop.words if word.kind == "sign")
    if level > 0:
        yield from _closings(stop)
    elif level < 0:
        yield from _openings(stop)


def _closings(stop: Stop) -> Iterator[Draft]:
    """A closing one: where the parser stopped, before a clause that follows, at the end, anywhere after the opening."""
    open_at: list[int] = []
    for place, word in enumerate(stop.words):
        if word.kind == "sign" and word.text == "(":
            open_at.append(place)
        elif word.kind == "sign" and word.text == ")" and open_at:
            open_at.pop()
    last = open_at[-1] if open_at else 0
    is_aggregate = last > 0 and stop.words[last - 1].upper in _AGGREGATES
    for place in range(last + 1, len(stop.words) + 1):
        is_end = place == len(stop.words)
        at_stop = place == stop.place and not is_end
        is_clause = not is_end and stop.words[place].upper in (*_CLAUSES, "AS", "AND", "OR", *_SET_OPERATIONS)
        is_listed = not is_end and stop.words[place].text == "," and stop.depths[place] == stop.depths[last] + 1
        cost = (
            0.95
            if is_aggregate and is_listed
            else 1.0
            if at_stop
            else 1.1
            if is_end
            else 1.2
            if is_clause
            else 1.6 + 0.01 * abs(place - stop.place)
        )
        words = [*stop.words[:place], Word(")", "sign", -1), *stop.words[place:]]
        before = text_of(stop.words[last:place])
        shown = change("bracket", before, f"{before})", why="The bracket was opened and not closed.")
        yield stop.draft.edited(text_of(words), shown, cost)
    for place in open_at:
        yield stop.drop(place, rule="bracket", why="The bracket is never closed.", cost=1.7)


def _openings(stop: Stop) -> Iterator[Draft]:
    level, closed = 0, len(stop.words) - 1
    for place, word in enumerate(stop.words):
        level += (word.text == "(") - (word.text == ")") if word.kind == "sign" else 0
        if level < 0:
            closed = place
            break
    yield stop.drop(closed, rule="bracket", why="The bracket was never opened.", cost=1.1)
    for place in range(closed):
        yield from _glued(stop, place)
    for place in range(closed, max(0, closed - NEAR_WORDS), -1):
        is_called = stop.words[place - 1].upper in _CALLED and stop.words[place].text != "("
        words = [*stop.words[:place], Word("(", "sign", -1, " "), *stop.words[place:]]
        after = text_of(stop.words[place : closed + 1])
        shown = change("bracket", after, f"({after}", why="The bracket was closed and not opened.")
        yield stop.draft.edited(text_of(words), shown, 1.0 if is_called else 1.5 + 0.01 * (closed - place))


def _glued(stop: Stop, place: int) -> Iterator[Draft]:
    """`SUMprice)`: the bracket between a function and what it is of."""
    word = stop.words[place]
    for name in sorted(_CALLED, key=len, reverse=True):
        rest = word.text[len(name) :]
        if word.upper.startswith(name) and rest and word.text.lower() not in stop.names:
            is_known = rest.lower() in stop.names or rest.upper() in (*_CALLED, "DISTINCT")
            text = f"{word.text[: len(name)]}({rest}"
            why = f"The bracket after {name} is missing."
            yield stop.swap(place, 1, word.saying(text), rule="bracket", why=why, cost=0.8 if is_known else 1.05)
            return


def _quotes(stop: Stop) -> Iterator[Draft]:
    """A quote that nothing closes: an apostrophe inside a text, or the end of the text is missing."""
    place = next((place for place, word in enumerate(stop.words) if word.kind == "open"), None)
    if place is None:
        return
    quote = stop.words[place].text
    for start in range(place):
        # 'It's so' is read as 'It', s, so and a quote that opens.
        word = stop.words[start]
        if word.kind == "string" and quote == "'" and not stop.words[start + 1].space and start + 1 < place:
            inner = text_of(stop.words[start : place + 1])[1:-1].replace("''", "'").replace("'", "''")
            why = "An apostrophe inside a text is written twice."
            yield stop.swap(
                start, place - start + 1, Word(f"'{inner}'", "string", -1, word.space), rule="quote", why=why, cost=0.8
            )
    rank = 0
    for end in range(place + 1, min(place + 14, len(stop.words)) + 1):
        is_end = end == len(stop.words)
        follows = "" if is_end else (stop.words[end].upper or stop.words[end].text)
        if not is_end and follows not in KEYWORDS and follows not in (")", ",", ";"):
            continue
        inner = text_of(stop.words[place + 1 : end])
        text = f"{quote}{inner.replace(quote, quote * 2)}{quote}"
        kind = "string" if quote == "'" else "quoted"
        word = Word(text, kind, -1, stop.words[place].space or " ")  # type: ignore[arg-type]  # one of two kinds
        why = "The text was opened and not closed."
        if inner:
            yield stop.swap(place, end - place, word, rule="quote", why=why, cost=1.0 + 0.1 * rank)
            rank += 1
    yield stop.drop(place, rule="quote", why="The quote stands alone.", cost=1.4)


def _missing(stop: Stop) -> Iterator[Draft]:
    """A keyword that is not there."""
    words = stop.words
    for place, word in enumerate(words):
        follows = words[place + 1].upper if place + 1 < len(words) else ""
        has_more = place + 1 < len(words)
        if word.upper in ("GROUP", "ORDER", "PARTITION") and has_more and follows != "BY" and place <= stop.place:
            yield stop.put(place + 1, "BY", 0.9)
            if 0 < len(follows) <= 3 and follows[0] in "BY" and follows.lower() not in stop.names:
                swapped = words[place + 1].saying("BY")
                yield stop.swap(place + 1, 1, swapped, rule="keyword", why=f"{word.text} takes BY.", cost=0.8)
        if word.upper in _SET_OPERATIONS and follows not in ("SELECT", "ALL", "DISTINCT", "WITH", ""):
            yield stop.put(place + 1, "SELECT", 0.9)
        is_queried = place > 0 and (words[place - 1].upper in _QUERIED or words[place - 1].kind == "sign")
        if word.text == "(" and is_queried and _reads(stop, place):
            yield stop.put(place + 1, "SELECT", 0.9)
        if word.upper == "CASE" and follows != "WHEN" and stop.counts["THEN"] > stop.counts["WHEN"]:
            yield stop.put(place + 1, "WHEN", 0.9)
        if word.upper == "SELECT" and follows == "FROM":
            yield stop.put(place + 1, _selected(words, place), 1.3)
        is_read = place and words[place - 1].upper in ("FROM", "JOIN", "INTO", "UPDATE", "TABLE")
        if word.text.lower() in stop.tables and not is_read and not _has_from(stop, place):
            yield stop.put(place, "FROM", 1.0 if abs(place - stop.place) <= 1 else 1.2)
    if len(words) > 2 and words[1].upper == "AS" and words[2].text == "(" and words[0].upper not in KEYWORDS:
        yield stop.put(0, "WITH", 0.9)
    if (
        words
        and words[0].upper not in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "CREATE")
        and (any(word.upper == "FROM" for word in words))
    ):
        yield stop.put(0, "SELECT", 1.0)
    for place in range(min(stop.place + 1, len(words)), max(0, stop.place - WINDOW - 2), -1):
        for text, cost in _put_in(stop, place):
            yield stop.put(place, text, cost + 0.02 * abs(stop.place - place))


def _reads(stop: Stop, place: int) -> bool:
    """Whether a bracket has a FROM and no SELECT of its own."""
    level, found = stop.depths[place] + 1, False
    for other in range(place + 1, len(stop.words)):
        if stop.depths[other] < level:
            break
        if stop.depths[other] == level and stop.words[other].upper in ("SELECT", "WITH"):
            return False
        found = found or (stop.depths[other] == level and stop.words[other].upper == "FROM")
    return found


def _selected(words: Sequence[Word], place: int) -> str:
    """What a SELECT of nothing selects: what it is to be compared with, else everything."""
    is_listed = place >= 3 and words[place - 1].text == "(" and words[place - 2].upper == "IN"
    before = next((word for word in reversed(words[: max(0, place - 2)]) if word.upper != "NOT"), None)
    return before.text if is_listed and before is not None and before.kind == "word" else "*"


def _put_in(stop: Stop, place: int) -> Iterator[tuple[str, float]]:
    """The keywords that may be missing before a piece, as far as the others say so."""
    counts = stop.counts
    before = stop.words[place - 1]
    after = stop.words[place] if place < len(stop.words) else None
    if counts["CASE"] > counts["END"]:
        yield "END", 1.0
    if counts["WHEN"] > counts["THEN"]:
        yield "THEN", 1.0
    if after is None or after.kind not in ("word", "quoted", "string", "number") or before.upper in KEYWORDS:
        return
    if after.text.lower() in stop.tables and counts["FROM"]:
        yield "JOIN", 1.2
    if counts["JOIN"] > counts["ON"] + counts["USING"]:
        yield "ON", 1.2
    if counts["WHERE"] < counts["SELECT"] and counts["FROM"]:
        yield "WHERE", 1.4
    yield "AND", 1.5


def _has_from(stop: Stop, place: int) -> bool:
    """Whether the SELECT that a place is in reads from something already."""
    level = stop.depths[place]
    for other in range(place - 1, -1, -1):
        if stop.depths[other] < level or stop.words[other].upper in ("SELECT", *_SET_OPERATIONS):
            return False
        if stop.depths[other] == level and stop.words[other].upper == "FROM":
            return True
    return False


def _stray(stop: Stop) -> Iterator[Draft]:
    """A word too many where the parser stopped; what is left of an end that broke off."""
    count = len(stop.words)
    for place in range(max(0, stop.place - 2), min(stop.place + 1, count)):
        if stop.words[place].kind != "open":
            cost = 1.9 if stop.words[place].upper in KEYWORDS else 2.2
            yield stop.drop(place, cost=cost + 0.05 * (stop.place - place))
    for place, (word, other) in enumerate(pairwise(stop.words)):
        if word.text.upper() == other.text.upper() and word.kind in ("word", "quoted"):
            yield stop.drop(place, why=f"{word.text} is said twice.", cost=1.2)
    yield from _broken_off(stop)


def _broken_off(stop: Stop) -> Iterator[Draft]:
    """Keywords and signs at the end, and the last clause or condition where it ends in one."""
    count, why = len(stop.words), "The statement breaks off here."
    length = 0
    while length < count - 2 and _is_unended(stop.words[count - 1 - length]):
        length += 1
        cost = 0.9 + 0.1 * length
        yield stop.drop(count - length, length, rule="truncated", why=why, cost=cost)
    for place in range(count - 1, max(1, count - 6), -1) if length else ():
        if stop.words[place].upper in ("WHERE", "AND", "OR", "HAVING", "LIMIT", "GROUP", "ORDER"):
            yield stop.drop(place, count - place, rule="truncated", why=why, cost=1.1)
            return


def _is_unended(word: Word) -> bool:
    return word.upper in KEYWORDS - {"END", "NULL", "ASC", "DESC"} or (
        word.kind == "sign" and word.text not in (")", "*")
    )


def _opens(words: Sequence[Word], place: int) -> bool:
    """Whether a clause begins with a word, which may also be a name."""
    upper = words[place].upper
    after = words[place + 1] if place + 1 < len(words) else None
    if upper in ("GROUP", "ORDER"):
        return after is not None and after.upper == "BY"
    if upper in ("LIMIT", "OFFSET"):
        return after is not None and after.kind == "number"
    return upper in ("FROM", "WHERE", "HAVING")


def _order(stop: Stop) -> Iterator[Draft]:
    """The clauses of a SELECT in the order that SQL has them."""
    for start, word in enumerate(stop.words):
        if word.upper != "SELECT":
            continue
        level, end = stop.depths[start], start + 1
        cuts = [start]
        while end < len(stop.words) and stop.depths[end] >= level:
            upper = stop.words[end].upper
            if stop.depths[end] == level and (upper in _SET_OPERATIONS or stop.words[end].text == ";"):
                break
            if stop.depths[end] == level and _opens(stop.words, end):
                cuts.append(end)
            end += 1
        parts = [stop.words[a:b] for a, b in zip(cuts, [*cuts[1:], end], strict=True)]
        ordered = sorted(parts, key=lambda part: _CLAUSES.index(part[0].upper))
        names = [part[0].upper for part in parts]
        if ordered != parts and len(set(names)) == len(names):
            moved = [word for part in ordered for word in part]
            words = [*stop.words[:start], *_spaced(moved), *stop.words[end:]]
            why = f"The clauses of a SELECT stand in the order {', '.join(part[0].upper for part in ordered)}."
            before, after = text_of(stop.words[start:end]), text_of(moved)
            yield stop.draft.edited(text_of(words), change("clause_order", before, after, why=why), 1.0)


def _spaced(words: Sequence[Word]) -> Iterator[Word]:
    for word in words:
        yield word if word.space or word.upper not in _CLAUSES else Word(word.text, word.kind, word.start, " ")


_RULES: Sequence[Callable[[Stop], Iterator[Draft]]] = (
    _quotes, _typos, _names, _spaces, _lists, _brackets, _missing, _stray,
)  # fmt: skip

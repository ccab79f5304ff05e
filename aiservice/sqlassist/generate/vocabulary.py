"""General English that questions to databases are made of. Nothing here is of one database."""

from collections.abc import Mapping, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> Mapping[str, str]:
    """Lines of `meaning: word, word`, as a mapping from each word to its meaning."""
    found: dict[str, str] = {}
    for line in text.strip().splitlines():
        meaning, _, words = line.partition(":")
        found |= {word.strip(): meaning.strip() for word in words.split(",")}
    return found


# Words that say nothing about what is asked for.
HARMLESS = _words(
    """
    a an the this that these those is are was were be been being do does did done has have had having i me my we us
    our
    you your he she his her him it its they their them there here what which who whom whose when where how please can
    could would should will shall may might must show list find give get return display tell provide present
    mention indicate write let want need know all any some every entire whole of in on at from to for with as
    into onto over out up within across among during so than then also too well just only both overall
    such respective respectively corresponding associated database table record records entry entries
    row rows data dataset result results value values many much currently now called named titled
    said following given include including along together if while because about one ones thing things
    happen happens happened happening occur occurs occurred occurring exist exists located situated based
    calculate compute determine identify retrieve fetch select report output specify times same own self
    person people individual individuals overall insensitively sensitively using whether say says letter
    letters word words string strings
    inclusive s re ve ll t
    """
)
# Verbs that tie one thing to another; which things they are the keys say.
RELATIONS = _words(
    """
    serve own make sell buy have hold host play perform attend work live come belong contain get receive give take
    bring
    raise keep sing write run use hire employ appear enroll register place produce publish
    win earn award pay spend borrow lend rent visit treat see teach study lead manage direct operate supply ship
    deliver purchase cause incur participate compete travel fly drive arrive depart originate grow bear create
    build carry handle assign allocate complete finish start begin end go stay reside base
    do gain achieve collect issue send involve relate link connect associate release entrust transact
    """
)
COUNTS = ("how many", "number of", "total number of", "count of", "total count of", "count the number of", "count")
AGGREGATES = _table(
    """
    avg: average, mean, avg
    sum: total, sum, total amount of, sum of, overall, combined
    min: minimum, min, earliest
    max: maximum, max, latest
    """
)
# Adjectives in the highest degree: which end, and of which attribute ("" where a noun says it).
HIGHEST = _table(
    """
    : highest, largest, most, biggest, greatest, best, maximal
    age: oldest
    height: tallest
    weight: heaviest
    length: longest
    price: most expensive, costliest, priciest
    speed: fastest
    date: newest, most recent, latest, last
    popularity: most popular
    """
)
LOWEST = _table(
    """
    : lowest, smallest, least, fewest, worst, minimal
    age: youngest
    height: shortest
    weight: lightest
    price: cheapest, least expensive
    speed: slowest
    date: earliest, first
    popularity: least popular
    """
)
# Comparing words, with `than` left out: the operator and the attribute.
ABOVE = _table(
    """
    : more than, greater than, higher than, larger than, bigger than, above, over, exceeding, exceeds, greater
    : higher, more, larger, better than, exceed
    age: older than, older
    weight: heavier than, heavier
    height: taller than, taller
    length: longer than, longer
    price: more expensive than, costlier than
    speed: faster than
    date: after, later than, newer than, since after
    """
)
BELOW = _table(
    """
    : less than, fewer than, lower than, smaller than, below, under, less, lower, smaller
    age: younger than, younger
    weight: lighter than, lighter
    height: shorter than
    price: cheaper than, less expensive than
    speed: slower than
    date: before, earlier than, prior to
    """
)
AT_LEAST = _table(
    """
    : at least, no less than, greater than or equal to, not less than, minimum of
    date: since, on or after, or after
    """
)
AT_MOST = _table(
    """
    : at most, no more than, less than or equal to, not more than, up to
    date: until, on or before, or before
    """
)
# Questions for an attribute.
MEASURED = _table(
    """
    age: how old
    height: how tall
    weight: how heavy
    length: how long
    price: how expensive
    """
)
# What a number may be called that is no age, height, weight and so on.
QUANTITIES = _words(
    """
    rating score rank grade level count number quantity amount total capacity size volume area population budget
    salary income profit revenue balance tax fee discount percent percentage rate stock stars points votes visits
    pages seats rooms floors beds latitude longitude version width depth temperature distance
    """
)
# Which words of a column's name an attribute may stand behind.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "age": ("age", "birth", "birthday", "dob", "birthdate", "born"),
    "height": ("height", "tall"),
    "weight": ("weight", "mass"),
    "length": ("length", "duration", "distance"),
    "price": ("price", "cost", "fee", "charge"),
    "speed": ("speed", "pace", "velocity"),
    "date": ("date", "year", "time", "datetime", "day", "founded", "opened"),
    "popularity": ("popularity",),
}
# Attributes of which more of the column is less of the quality.
INVERTED = frozenset({"birth", "birthday", "dob", "birthdate", "born"})
# Words of one meaning; the first is what they are compared by.
_ALIKE = (
    "gender sex", "nation country nationality", "store shop", "animal pet", "kind type category sort", "title name",
    "employee worker staff", "customer client", "phone telephone", "mail email", "zip postal", "price cost",
    "quantity qty", "amount amt", "salary wage pay", "film movie", "car vehicle auto", "doctor physician",
    "student pupil", "teacher instructor", "author writer", "cuisine food dish", "address addr", "department dept",
    "company firm", "weight weigh", "city town", "id identifier", "begin start", "close closing",
)  # fmt: skip
SYNONYMS: Mapping[str, str] = {word: line.split()[0] for line in _ALIKE for word in line.split()}
ABBREVIATIONS: Mapping[str, str] = {
    "fname": "first name", "lname": "last name", "mname": "middle name", "dob": "birth date", "qty": "quantity",
    "amt": "amount", "num": "number", "no": "number", "nr": "number", "addr": "address", "tel": "phone", "desc":
    "description",
    "cust": "customer", "emp": "employee", "dept": "department",
    "prod": "product", "cat": "category", "yr": "year", "mgr": "manager", "ctry": "country",
    "surname": "last name", "lastname": "last name", "firstname": "first name", "ids": "id",
}  # fmt: skip
NUMBERS: Mapping[str, int] = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
MONTHS: Mapping[str, int] = {
    word: number // 2 + 1
    for number, word in enumerate(
        [
            "january",
            "jan",
            "february",
            "feb",
            "march",
            "mar",
            "april",
            "apr",
            "may-",
            "may",
            "june",
            "jun",
            "july",
            "jul",
            "august",
            "aug",
            "september",
            "sep",
            "october",
            "oct",
            "november",
            "nov",
            "december",
            "dec",
        ]
    )
} | {"sept": 9}
# What people are called by where they are from.
DEMONYMS: Mapping[str, str] = {
    "french": "france", "german": "germany", "italian": "italy", "spanish": "spain", "dutch": "netherlands",
    "american": "united states", "british": "united kingdom", "english": "england", "chinese": "china",
    "japanese": "japan", "indian": "india", "canadian": "canada", "mexican": "mexico", "brazilian": "brazil",
    "russian": "russia", "polish": "poland", "swedish": "sweden", "norwegian": "norway", "danish": "denmark",
    "finnish": "finland", "greek": "greece", "turkish": "turkey", "swiss": "switzerland", "austrian": "austria",
    "belgian": "belgium", "portuguese": "portugal", "irish": "ireland", "scottish": "scotland", "welsh": "wales",
    "australian": "australia", "korean": "south korea", "vietnamese": "vietnam", "thai": "thailand",
}  # fmt: skip
# A kind of people by one letter or word in a column that holds it.
GENDERS: Mapping[str, tuple[str, ...]] = {
    "female": ("F", "female", "Female", "woman"), "male": ("M", "male", "Male", "man"),
    "women": ("F", "female", "Female"), "men": ("M", "male", "Male"),
}  # fmt: skip
# Other words that say what to do, by the letter that `link.Mark` has for them, and what they say.
SIGNS: Sequence[tuple[str, tuple[str, ...]]] = (
    *(
        (kind.strip(), tuple(word.strip() for word in words.split(",")))
        for kind, _, words in (
            line.partition("|")
            for line in """
    E | each, per, for every, of every, for each, in each, by each, from each, of each, in every, for different
    E | each of
    X | distinct, different, unique, separate, various
    H | top, first
    O | order, sort, sorted, ordered, rank, ranked, arrange, arranged, in order, order of, starting from
    O | starting with
    d:desc | descending, desc, decreasing, descending order, high to low, reverse, reversed, reverse order
    d:asc | ascending, asc, increasing, ascending order, low to high, alphabetical, alphabetically, alphabetical order
    y | by, based on, in terms of, according to
    B | between
    n | no, not, without, never, except, except for, other than, excluding, neither, none, do not, does not
    n | not any, without any
    & | and, as well as, but, along with
    f | of, for
    r | who, whose, which, that, where, with, having, when
    2 | both
    * | all the information, all information, all details, all the details, information, details, all columns
    p | in, at, on, from, by
    ~ | contain, contains, containing, include, includes, including, the word, the letter, the letters, substring
    ~ | like
    ^ | start with, starts with, starting with the letter, begin with, begins with, beginning with
    $ | end with, ends with, ending with, ending in
    t | ratio, ratio of, proportion of, rate, percentage of, percentage, percent of, difference
    t | difference between, change
    """.strip().splitlines()
        )
    ),
    ("|", ("or",)),
)

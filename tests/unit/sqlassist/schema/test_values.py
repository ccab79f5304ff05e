"""Which cells a phrase may mean."""

import time

import pytest

from aiservice.sqlassist.schema import Column, Match, Schema, Table, ValueIndex

CLINIC = Schema(
    (
        Table("ward", (Column("name", values=("Intensive Care", "Maternity", "Children's Ward")),)),
        Table("doctor", (Column("field", values=("Cardiology", "Neurology")), Column("town", values=("Bergen",)))),
        Table(
            "patient", (Column("town", values=("Bergen", "San José", "New Haven")), Column("code", values=("A-12",)))
        ),
    )
)


def found(phrase: str) -> list[tuple[str, str]]:
    return [(f"{match.table}.{match.column}", match.value) for match in ValueIndex(CLINIC).find(phrase)]


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("maternity", [("ward.name", "Maternity")]),
        ("INTENSIVE  CARE", [("ward.name", "Intensive Care")]),
        ("children's ward", [("ward.name", "Children's Ward")]),
        ("a 12", [("patient.code", "A-12")]),
        ("bergen", [("doctor.town", "Bergen"), ("patient.town", "Bergen")]),
        ("cardiologys", [("doctor.field", "Cardiology")]),
        ("cardiolgy", [("doctor.field", "Cardiology")]),
        ("intensiv care", [("ward.name", "Intensive Care")]),
        ("new havne", [("patient.town", "New Haven")]),
        ("intensive", [("ward.name", "Intensive Care")]),
        ("oncology", []),
        ("ward of the rings", []),
        ("", []),
        ("?!", []),
    ],
)
def test_phrases(phrase: str, expected: list[tuple[str, str]]) -> None:
    assert found(phrase) == expected


def test_scores_fall_from_the_same_to_the_like_to_the_part() -> None:
    index = ValueIndex(CLINIC)
    scores = [index.find(phrase)[0].score for phrase in ("cardiology", "cardiologys", "cardiolgy", "intensive")]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1.0
    assert scores[2] >= 0.77 > scores[3]


def test_an_exact_value_hides_those_that_are_like_it() -> None:
    schema = Schema((Table("t", (Column("a", values=("crane", "cranes", "cranny")),)),))
    assert ValueIndex(schema).find("Crane") == [Match("t", "a", "crane", 1.0)]


def test_a_hundred_thousand_values_are_found_in_milliseconds() -> None:
    schema = Schema(
        tuple(
            Table(f"t{n}", (Column("a", values=tuple(f"crate {n} of series {k}" for k in range(40))),))
            for n in range(2_500)
        )
    )
    started_s = time.process_time()
    index = ValueIndex(schema)
    assert time.process_time() - started_s < 20
    started_s = time.process_time()
    assert index.find("crate 77 of series 12")[0].score == 1.0
    assert index.find("crate 77 of sereis 12")[0].value == "crate 77 of series 12"
    assert index.find("barrel") == []
    assert time.process_time() - started_s < 0.2

"""instructor: answers as objects, by tools and by JSON schema, over OpenAI's and Anthropic's doors."""

import anthropic
import instructor
import openai
import pytest
from pydantic import BaseModel, Field

from tests.clients.conftest import Place

pytestmark = pytest.mark.clients

ASKED = [{"role": "user", "content": 'A Person: "Ann" is 41.'}]
ANN = ("Ann", 41)


class Person(BaseModel):
    name: str
    age: int


class People(BaseModel):
    people: list[Person] = Field(min_length=1)


def over_openai(place: Place, mode: instructor.Mode) -> instructor.Instructor:
    client = openai.OpenAI(base_url=place.v1, api_key=place.key, max_retries=0)
    return instructor.from_openai(client, mode=mode)


@pytest.mark.parametrize(
    ("mode", "model"),
    [
        (instructor.Mode.TOOLS, "tools"),
        (instructor.Mode.JSON_SCHEMA, "json"),
    ],
)
def test_an_object(scripted_place: Place, mode: instructor.Mode, model: str):
    client = over_openai(scripted_place, mode)
    person = client.chat.completions.create(model=model, messages=ASKED, response_model=Person, max_retries=0)

    assert (person.name, person.age) == ANN


def test_objects_in_an_object(scripted_place: Place):
    client = over_openai(scripted_place, instructor.Mode.TOOLS)
    asked = [{"role": "user", "content": 'People: "Ann" is 41.'}]
    found = client.chat.completions.create(model="tools", messages=asked, response_model=People, max_retries=0)

    assert found.people == [Person(name="Ann", age=41)]


def test_an_object_as_it_comes(scripted_place: Place):
    client = over_openai(scripted_place, instructor.Mode.TOOLS)
    *partial, last = client.chat.completions.create_partial(model="tools", messages=ASKED, response_model=Person)

    assert partial
    assert (last.name, last.age) == ANN


def test_an_object_over_anthropic(scripted_place: Place):
    client = instructor.from_anthropic(
        anthropic.Anthropic(base_url=scripted_place.url, api_key=scripted_place.key, max_retries=0)
    )
    person = client.messages.create(model="tools", max_tokens=200, messages=ASKED, response_model=Person, max_retries=0)

    assert (person.name, person.age) == ANN


@pytest.mark.real
def test_an_object_of_the_real_model(real_place: Place):
    person = over_openai(real_place, instructor.Mode.JSON_SCHEMA).chat.completions.create(
        model=real_place.model, messages=ASKED, response_model=Person, temperature=0, max_tokens=200
    )

    assert isinstance(person, Person)

"""Scripts: their form, what is wrong with them, and what they answer, without and with the wire between."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from models_kit import MODEL, SEARCH, asking, provider_of
from pydantic import AwareDatetime, BaseModel, Field

from consort_agents.models.asked import asked_of
from consort_agents.models.errors import (
    ModelError,
    Overloaded,
    RateLimited,
    RequestRefused,
    TookTooLong,
    Unreachable,
)
from consort_agents.models.fitting import NothingFits, fitting
from consort_agents.models.playing import Played, play
from consort_agents.models.port import Message, Request, ToolResult, user
from consort_agents.models.script_files import ScriptError, load_script, read_script
from consort_agents.models.wire import body_of
from consort_shared.errors import InvalidInput

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
both = pytest.mark.parametrize("kind", ["scripted", "anthropic"])
"""The same script behind the port directly, and through the real SDK and the fake."""


async def texts(kind: str, script: str, *requests: Request) -> list[str]:
    """What each request is answered, or which error it gets."""
    given = []
    async with provider_of(kind, script) as provider:
        for request in requests:
            try:
                given.append((await provider.ask(request)).text)
            except ModelError as exc:
                given.append(f"{type(exc).__name__} {exc.status}")
    return given


@both
async def test_the_first_rule_that_fits_answers(kind: str) -> None:
    """J16: a scripted model."""
    script = """
    rules:
      - {when: {agent: "res*"}, answer: by agent}
      - {when: {system: critic}, answer: by system}
      - {when: {user: {contains: [tea, green]}}, answer: by words}
      - {when: {user: {regex: "(?i)^what is (?P<what>\\\\w+)"}}, answer: "{{ match.what }} or {{ match.1 }}"}
      - {when: {offers: search}, answer: by tool}
      - {when: {schema: true}, answer: {json: {by: schema}}}
      - {when: {model: "claude-opus-*"}, answer: by model}
    otherwise: {answer: nothing}
    """
    assert await texts(
        kind,
        script,
        asking(agent="researcher"),
        asking(system="You are a critic.", agent="planner"),
        asking("green tea"),
        asking("tea"),
        asking("What is love?"),
        asking(tools=(SEARCH,)),
        asking(
            output_schema={"type": "object", "properties": {"by": {"type": "string"}}, "required": ["by"]}
        ),
        asking(model="claude-opus-5-5"),
    ) == [
        "by agent",
        "by system",
        "by words",
        "nothing",
        "love or love",
        "by tool",
        '{"by": "schema"}',
        "by model",
    ]


@both
async def test_rules_are_counted(kind: str) -> None:
    script = """
    rules:
      - {when: {user: a}, nth: [2, 4], fail: {status: 529}}
      - {when: {user: a}, after: 1, times: 1, answer: "once, call {{ call }}"}
      - {when: {user: a}, answer: "a {{ call }}"}
    """
    assert await texts(kind, script, *[asking("a")] * 5) == [
        "a 1",
        "Overloaded 529",
        "once, call 1",
        "Overloaded 529",
        "a 2",
    ]


@both
async def test_conversations_go_by_agent_and_turn(kind: str) -> None:
    """J16: scripted per agent and turn, so that whoever asks again after a crash gets the same again."""
    script = """
    conversations:
      researcher:
        - {answer: {use: [{tool: search, input: {q: "{{ user }}", from: "{{ agent }}"}}]}}
        - answer: "Found: {{ result }}"
      "writer-*": [Once upon a time., The end.]
    otherwise: {answer: "turn {{ turn }}"}
    """
    async with provider_of(kind, script) as provider:
        first = asking("tea", agent="researcher", tools=(SEARCH,))
        for _ in range(2):
            reply = await provider.ask(first)
            [use] = reply.tool_uses
            assert use.input == {"q": "tea", "from": "researcher"}
        again = await provider.ask(first)
        assert again.tool_uses[0].id == use.id
        result = Message(role="user", content=(ToolResult(tool_use_id=use.id, content="green"),))
        second = first.model_copy(update={"messages": (*first.messages, reply.message, result)})
        reply = await provider.ask(second)
        assert reply.text == "Found: green"
        third = second.model_copy(update={"messages": (*second.messages, reply.message, user("more"))})
        assert (await provider.ask(third)).text == "turn 3"
        assert (await provider.ask(asking(agent="writer-2"))).text == "Once upon a time."


@both
async def test_answers_take_values_from_the_request(kind: str) -> None:
    script = """
    rules:
      - answer:
          json: {rows: "{{ user.json.rows }}", second: "{{ user.json.rows[1].name }}", said: "n={{ user.json.n }}"}
    """
    said = 'Look at this: {"rows": [{"name": "a"}, {"name": "b"}], "n": 2} and answer.'
    assert await texts(kind, script, asking(said)) == [
        '{"rows": [{"name": "a"}, {"name": "b"}], "second": "b", "said": "n=2"}'
    ]


@both
async def test_what_the_request_does_not_have_is_named(kind: str) -> None:
    async with provider_of(kind, 'rules: [{name: greedy, answer: "{{ user.json.rows }}"}]') as provider:
        with pytest.raises(RequestRefused, match=r"greedy.*user\.json\.rows.*no JSON"):
            await provider.ask(asking("no rows"))
        with pytest.raises(RequestRefused, match=r"nothing at \.rows; there are: columns"):
            await provider.ask(asking('{"columns": 1}'))


@both
async def test_a_request_that_no_rule_fits_is_an_error_that_names_it(kind: str) -> None:
    async with provider_of(kind, "rules: [{when: {user: tea}, answer: yes please}]") as provider:
        with pytest.raises(RequestRefused, match=r"no rule of the script fits.*'writer'.*search.*'coffee"):
            await provider.ask(asking("coffee", agent="writer", tools=(SEARCH,)))


@both
async def test_faults_are_played(kind: str) -> None:
    script = """
    rules:
      - {when: {user: limited}, fail: {status: 429, headers: {Retry-After: 3}}}
      - {when: {user: broken}, answer: one two three, fail: {within: 7}}
      - {when: {user: cut}, answer: one two three, cut: 5}
      - {when: {user: silent}, answer: one two three, stall: 30}
      - {when: {user: late}, answer: one two three, latency: 30}
    """
    heard: list[str] = []
    async with provider_of(kind, script) as provider:
        with pytest.raises(RateLimited) as told:
            await provider.ask(asking("limited"))
        assert told.value.retry_after == 3
        with pytest.raises(Overloaded):
            await provider.ask(asking("broken"), heard.append)
        assert "".join(heard) == "one two"
        heard.clear()
        with pytest.raises(Unreachable):
            await provider.ask(asking("cut"), heard.append)
        assert "".join(heard) == "one t"
        for text in ("silent", "late"):
            with pytest.raises(TookTooLong):
                await provider.ask(asking(text), heard.append, timeout=0.05)


@both
async def test_limits_refuse_what_is_too_much(kind: str) -> None:
    script = "{limit: {requests_per_minute: 6000, burst: 2}, otherwise: {answer: ok}}"
    async with provider_of(kind, script) as provider:
        given = []
        for _ in range(3):
            try:
                given.append((await provider.ask(asking())).text)
            except RateLimited:
                given.append("limited")
        seen = provider.limits()
    assert given[:2] == ["ok", "ok"]
    assert seen is not None
    assert seen.requests_per_minute == 6000


def test_limits_fill_up_with_time() -> None:
    """C13: sixty requests a minute, without a server."""
    script = read_script(
        "{limit: {requests_per_minute: 60, burst: 1, tokens_per_minute: 60000}, otherwise: {answer: ok}, "
        "rules: [{when: {user: once}, times: 1, answer: first}]}"
    )
    asked = asked_of(body_of(asking("once")), key="k")
    played, now, answered, refused = Played(), 1000.0, 0, 0
    while now < 1060:
        played, playing = play(script, played, asked, now)
        if playing.failing is None:
            answered += 1
        else:
            refused += 1
            assert playing.headers["retry-after"] == "1"
            assert float(playing.headers["retry-after-ms"]) <= 1000
        now += 0.25
    assert answered == 60
    assert refused == 180
    other = asked_of(body_of(asking()), key="another")
    assert play(script, played, other, now)[1].failing is None


def test_a_refused_request_uses_no_rule_up() -> None:
    script = read_script(
        "{limit: {requests_per_minute: 60, burst: 1}, rules: [{times: 2, answer: good}], otherwise: {answer: late}}"
    )
    asked = asked_of(body_of(asking()))
    played, said = Played(), []
    for now in (0.0, 0.1, 0.2, 2.0, 4.0):
        played, playing = play(script, played, asked, now)
        said.append(playing.message["content"][0]["text"] if playing.message else playing.rule)
    assert said == ["good", "limit", "limit", "good", "late"]


def test_more_tokens_than_a_minute_has_pass_when_it_is_full() -> None:
    script = read_script("{limit: {tokens_per_minute: 10}, otherwise: {answer: ok}}")
    asked = asked_of(body_of(asking("x" * 4000)))
    played, playing = play(script, Played(), asked, 0.0)
    assert playing.failing is None
    assert play(script, played, asked, 1.0)[1].failing is not None
    assert play(script, played, asked, 61.0)[1].failing is None


class Mood(Enum):
    CALM = "calm"


class Tree(BaseModel):
    name: Annotated[str, Field(min_length=6, max_length=8)]
    children: list[Tree] = []
    parent: Tree | None = None


class Everything(BaseModel):
    mood: Mood
    kind: Literal["a", "b"]
    at: AwareDatetime
    tree: Tree
    share: Annotated[float, Field(gt=0, lt=1)]
    even: Annotated[int, Field(ge=3, multiple_of=2)]
    below: Annotated[int, Field(lt=-5)]
    pair: Annotated[list[int | None], Field(min_length=2)]
    code: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z]+$")]
    anything: dict[str, int]


@both
async def test_a_value_is_made_up_for_a_schema(kind: str) -> None:
    """E1, J16."""
    given = await texts(kind, "otherwise: {schema: true}", asking(output_schema=Tree.model_json_schema()))
    assert Tree.model_validate_json(given[0]).name


def test_values_fit_their_schemas() -> None:
    made = fitting(Everything.model_json_schema())
    assert Everything.model_validate(made)
    assert fitting(Everything.model_json_schema()) == made
    assert fitting({"allOf": [{"type": "object", "required": ["a"], "properties": {"a": {"const": 1}}}]}) == {
        "a": 1
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(foo|bar){17}x$"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"$ref": "#/$defs/missing"},
    ],
)
def test_what_nothing_fits_is_said(schema: dict[str, object]) -> None:
    with pytest.raises(NothingFits, match="can be made up"):
        fitting(schema)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules:\n  - answr: hello\n", r"line 2, rules\[0\].*unknown key `answr`; did you mean `answer`"),
        ("rules:\n  - when: {user: a}\n", r"line 2.*neither `answer` nor `fail`"),
        ("conversations:\n  a:\n    - {latency: 1}\n", r"line 3, conversations\.a\[0\].*neither `answer`"),
        ("rules:\n  - answer: a\n    fail: {status: 500}\n", r"line 2.*both `answer` and `fail`"),
        (
            "rules:\n  - fail: {status: 200}\n",
            r"line 2, rules\[0\]\.fail\.status: .*greater than or equal to 400",
        ),
        ("rules:\n  - fail: {within: 3}\n", "needs the `answer` that it interrupts"),
        ("rules:\n  - answer: a\n    when:\n      user: {regex: '('}\n", r"line 4.*no regular expression"),
        (
            "rules:\n  - answer:\n      text: '{{ uesr }}'\n",
            r"line 3, rules\[0\]\.answer\.text: .*`{{uesr}}` stands for nothing",
        ),
        ("rules:\n  - answer: {text: a, json: 1}\n", "both `text` and `json`"),
        ("rules:\n  - answer: {stop_reason: tired}\n", r"stop_reason.*'end_turn'"),
        ("rules:\n  - answer: {use: [{input: {}}]}\n", "`tool` is missing"),
        ("rules:\n  - answer: a\n    nth: 1\n    times: 2\n", "say it one way"),
        ("conversations:\n  a: [{answer: x, latency: -1}]\n", r"line 2.*latency"),
        ("conversations:\n  a:\n    - '{{ nothing }}'\n", r"line 3, conversations\.a\[0\]"),
        ("limit: {requests_per_minute: 0}\n", r"limit\.requests_per_minute.*greater than or equal to 1"),
        (
            "rules:\n  - answer: no\n",
            r"line 2, rules\[0\]\.answer: must be a mapping, is False; text such as that stands in quotes",
        ),
        ("otherwise: {scheme: true}\n", "did you mean `schema`"),
        ("rules: []\nrules: []\n", "given twice"),
    ],
)
def test_a_faulty_script_is_refused_with_the_line(text: str, told: str) -> None:
    with pytest.raises(ScriptError, match=told):
        read_script(text, "rules.yaml")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ScriptError, match=r"rules\.yaml: 2 faults") as caught:
        read_script("rules:\n  - answr: a\n    answer: a\n  - when: {uzer: a}\n    answer: b\n", "rules.yaml")
    assert [fault.line for fault in caught.value.faults] == [2, 4]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "must be a mapping"),
        (b"- a\n", "must be a mapping"),
        (b"a: [\n", "line 2.*not YAML"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_what_is_no_script_is_refused(tmp_path: Path, raw: bytes, told: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_bytes(raw)
    with pytest.raises(InvalidInput, match=told):
        load_script(file)
    with pytest.raises(InvalidInput, match="no such file"):
        load_script(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_script(tmp_path)


def test_the_model_of_a_script_is_what_was_asked() -> None:
    playing = play(read_script("otherwise: {answer: ok}"), Played(), asked_of(body_of(asking())), 0.0)[1]
    assert playing.message is not None
    assert playing.message["model"] == MODEL

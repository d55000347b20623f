"""Compliance and the correspondent: what may go out, and how a person is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _thinking import desk, perform

from consort_agents import Context, Decline, SkillError
from consort_agents.specialists import compliance, correspondent
from consort_agents.specialists.grounding import ground_of, sentences, ungrounded
from consort_agents.specialists.letters import told_by
from consort_agents.specialists.screening import KINDS, Rules, screened

KEY = "sk-" + "ant-" + "0123456789abcdefghij"
PRIVATE = {
    "e-mail": ["ada@example.org", "a.b+c@mail.example.co.uk"],
    "phone": ["+44 20 7946 0958", "0049 30 901820", "(0)30 90182000", "020 7946 0958", "(555) 010-4477"],
    "card": ["4242 4242 4242 4242", "378282246310005"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"],
    "key": [KEY, "password: hunter2", "Bearer abcdefgh12345678"],
}
PLAIN = (
    "On 2026-11-28 order 10423 of 12 March (02/03/2026) cost 1,234.50, lot 4242 4242 4242 4243, version 2.0.1, "
    "10:30-11:45, room 0815, ISBN 978-3-16-148410-0."
)


def screen(text: str, **more: Any) -> Any:
    return perform(compliance, {"text": text, **more}, Context.offline())


def write(**inputs: Any) -> Any:
    return perform(correspondent, inputs, Context.offline())


# --- compliance, by rules


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind in PRIVATE for text in PRIVATE[kind]], ids=lambda text: text[:12]
)
def test_what_must_not_leave_is_masked_and_shown_nowhere(kind: str, text: str) -> None:
    """S37"""
    found = screen(f"First line.\nWrite to {text} please.")
    assert found["verdict"] == "masked"
    assert found["text"] == f"First line.\nWrite to [{kind}] please."
    [finding] = found["findings"]
    assert (finding["line"], finding["column"], finding["quote"]) == (2, 10, f"[{kind}]")
    assert text not in json.dumps(found)


def test_what_is_no_secret_stays() -> None:
    assert screen(PLAIN) == {
        "verdict": "pass", "findings": [], "text": PLAIN, "dropped": [], "without_model": ""
    }  # fmt: skip
    assert screened("ada@example.org", Rules(mask=("card",))).text == "ada@example.org"
    assert set(PRIVATE) == set(KINDS)


def test_phrases_are_found_as_words_in_any_case_with_their_places() -> None:
    text = "We know.\nReturns are GUARANTEED and risk-\nfree; an unguaranteed word is none. Risk-free  it is."
    found = screened(text, Rules(required=("Order  number", "returns")))
    told = [(one.rule, one.line, one.column, one.quote) for one in found.findings]
    assert told == [
        ("forbidden", 2, 13, "GUARANTEED"),
        ("forbidden", 3, 37, "Risk-free"),
        ("required", 0, 0, ""),
    ]
    assert found.verdict == "refuse"
    assert "“Order  number” must be said" in found.findings[-1].reason
    assert screened(text, Rules(forbidden=())).verdict == "pass"


def test_compliance_refuses_what_is_no_text_of_its_own() -> None:
    """S37, bad input: each in a sentence."""
    with pytest.raises(Decline, match="texts are screened here"):
        screen("42 :-)")
    with pytest.raises(Decline, match="up to 500000 characters"):
        screen("word " * 100_001)
    for wrong in ({"text": ""}, {"text": "a", "rules": {"mask": ["name"]}}, {"text": "a", "lang": "en"}):
        with pytest.raises(ValueError, match=r"text|mask|lang"):
            perform(compliance, wrong, Context.offline())


# --- compliance, with a model

OBJECTS = """
rules:
  - answer:
      json:
        objections:
          - {rule: claim, quote: it arrives tomorrow, reason: "Nothing says so; ask ada@example.org."}
          - {rule: tone, quote: "you should\\nhave read", reason: It blames the reader.}
          - {rule: claim, quote: words of nobody, reason: It is not there.}
"""
TEXT = "Ask ada@example.org; it arrives\ntomorrow, and you should have read that."


def test_objections_count_where_they_quote_and_the_model_sees_nothing_masked() -> None:
    """S37"""
    there = desk(OBJECTS)
    inputs = {"text": TEXT, "basis": "Ada's card is 4242 4242 4242 4242", "rules": {"guidance": "No dates."}}
    found = perform(compliance, inputs, there.context(compliance))
    assert found["verdict"] == "refuse"
    told = [(one["rule"], one["line"], one["quote"]) for one in found["findings"]]
    assert told == [
        ("mask", 1, "[e-mail]"),
        ("claim", 1, "it arrives\ntomorrow"),
        ("tone", 2, "you should have read"),
    ]
    assert found["findings"][1]["reason"] == "Nothing says so; ask [e-mail]."
    [dropped] = found["dropped"]
    assert "do not stand in the text" in dropped
    asked = there.model.told()
    assert asked["basis"] == "Ada's card is [card]"
    assert "ada@" not in there.model.asked[0].model_dump_json()


@pytest.mark.parametrize("answer", ["I pass.", "{json: {objections: []}}"])
def test_a_model_never_lets_pass_what_the_rules_refuse(answer: str) -> None:
    there = desk(f"rules: [{{answer: {answer}}}]")
    found = perform(compliance, {"text": "It is guaranteed."}, there.context(compliance))
    assert found["verdict"] == "refuse"
    assert bool(found["without_model"]) == (answer == "I pass.")


# --- the correspondent, without a model

REPORT = """# Which tea leads?

## Summary

- **Who leads.** Green tea leads with 62 of 105 [1]. It is *said* to last [2].

## Details

| tea | sold |
|---|---|
| green | 62 |

## Sources

- [1] tea.csv
"""


def test_a_report_becomes_a_message_in_its_own_words() -> None:
    """S37"""
    told = write(result=REPORT, to="Ada", tone="formal", sign="The tea desk")
    assert told["subject"] == "Re: Which tea leads?"
    assert told["message"].split("\n\n") == [
        "Dear Ada,",
        "Thank you for your message.",
        "Who leads. Green tea leads with 62 of 105. It is *said* to last.",
        "Yours sincerely",
        "The tea desk",
    ]
    assert not told["refused"]


def test_lines_stay_lines() -> None:
    """What a stranger wrote cannot begin a new line of the message or its subject."""
    told = write(result="Yes.", to="Ada\n\nBcc: x", about="a\nb", sign="s\nt")
    assert told["subject"] == "Re: a b"
    assert told["message"] == "Hello Ada Bcc: x,\n\nYes.\n\ns t"


def test_length_tone_and_what_a_result_may_be() -> None:
    long = " ".join(f"Sentence number {n} says a little more." for n in range(50))
    assert write(result=long, words=20)["message"].count("Sentence") == 2
    assert write(result={"summary": {"a": 1}, "state": "sent", "last_day": 12})["message"] == (
        "Hello,\n\nState: sent. Last day: 12."
    )
    assert "write again" in write(result={"answer": "Yes."}, tone="warm")["message"]
    assert told_by([1, "One. Two."]).sentences == ("1.", "One.", "Two.")


def test_a_refusal_is_told_without_what_was_refused() -> None:
    """S37"""
    found = screen("It is guaranteed.", rules={"forbidden": ["guaranteed"], "required": ["order"]})
    there = desk("rules: [{answer: never asked}]")
    inputs = {"screened": found, "to": "Ada", "about": "Does it last?"}
    told = perform(correspondent, inputs, there.context(correspondent))
    assert told["refused"]
    assert (
        "it says something that we may not say and something that has to be said is missing"
        in told["message"]
    )
    assert "guaranteed" not in json.dumps(told)
    assert there.model.asked == []


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, "one of the two"),
        ({"result": "a", "screened": {"verdict": "pass", "findings": [], "text": "a"}}, "one of the two"),
        ({"result": "a", "tone": "rude"}, "'plain', 'warm' or 'formal'"),
        ({"result": "a", "words": 3}, "greater than or equal to 20"),
    ],
)
def test_the_correspondent_refuses_what_it_cannot_answer_from(inputs: dict[str, Any], why: str) -> None:
    """S37, bad input."""
    with pytest.raises(ValueError, match=why):
        write(**inputs)


@pytest.mark.parametrize("result", ["", "# Only a heading", {}, {"ok": True}, "| a |\n|---|"])
def test_nothing_to_tell_is_said(result: Any) -> None:
    """S37"""
    with pytest.raises(SkillError, match="nothing in the result"):
        write(result=result)


# --- the correspondent, with a model

DRAFTS = """
rules:
  - when: {user: does_not_hold}
    answer: {json: {paragraphs: ["Your parcel left on 24 November.", "Mr Smith has it, for 9 euros."]}}
  - answer: {json: {paragraphs: ["Your parcel left on 24 November. It comes in 3 days.", "Half of it is lost."]}}
"""
RESULT = {"text": "The parcel of order 1042 left Lyon on 24 November."}


def test_a_draft_is_held_against_the_result() -> None:
    """S37: what does not hold goes back with the reason, twice, and is then left out and listed."""
    there = desk(DRAFTS)
    told = perform(correspondent, {"result": RESULT, "about": "Where is it?"}, there.context(correspondent))
    assert told["message"] == "Hello,\n\nYour parcel left on 24 November."
    assert len(there.model.asked) == 3
    [first, second] = there.model.told(1)["does_not_hold"]
    assert (first["sentence"], first["reason"]) == (
        "It comes in 3 days.",
        "3 is no figure of what was given",
    )
    assert "half" in second["reason"]
    assert "“Mr Smith has it, for 9 euros.”: 9 is no figure" in told["dropped"][0]


@pytest.mark.parametrize("answer", ["{json: {paragraphs: [Go to Oslo.]}}", "I would rather not."])
def test_a_draft_of_which_nothing_holds_leaves_the_computed_message(answer: str) -> None:
    there = desk(f"rules: [{{answer: {answer}}}]")
    told = perform(correspondent, {"result": RESULT}, there.context(correspondent))
    assert told["message"] == f"Hello,\n\n{RESULT['text']}"
    assert told["without_model"]


GROUND = ground_of(
    "Order 1042 left Lyon on 24 November for 1,250.50; see https://shop.example/1042 or ask Ada."
)


@pytest.mark.parametrize(
    "sentence",
    [
        "Your order 1042 left Lyon on 24 November.",
        "It cost 1250.5.",
        "Ada’s order is under https://shop.example/1042.",
        "Unfortunately I’m late, and so am I.",
        "Lyon's order left.",
    ],
)
def test_what_was_given_may_be_said(sentence: str) -> None:
    assert ungrounded(sentence, GROUND) == ""


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("It left on 25 November.", "25 is no figure"),
        ("It cost 1,250.", "1,250 is no figure"),
        ("It takes two days.", "two is no figure"),
        ("It is half way.", "half is an amount"),
        ("It went to Oslo.", "Oslo would be a name"),
        ("Oslo has it.", "Oslo would be a name"),
        ("See https://shop.example.evil/1042.", "shop.example.evil"),
        ("Write to bob@example.org.", "bob@example.org does not stand"),
        ("It comes on Monday.", "Monday would be a name"),
    ],
)
def test_what_was_not_given_may_not(sentence: str, why: str) -> None:
    assert why in ungrounded(sentence, GROUND)


def test_sentences_end_where_a_capital_follows() -> None:
    assert sentences("It is 3.5 m. Is it? “Yes.” It is approx. 4 m") == [
        "It is 3.5 m.", "Is it?", "“Yes.” It is approx. 4 m"
    ]  # fmt: skip

"""Checks of credentials, rights and of what was set aside. Pure: facts in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from consort_orchestrator.cli.wording import counted, listed, one_line, span
from consort_orchestrator.doctor.facts import Facts
from consort_orchestrator.doctor.findings import Finding, Level

EXPIRES_SOON = timedelta(days=7)
ROLE = "operator"
SHOWN = 5
"""Letters that are named."""


def governance(facts: Facts) -> Iterator[Finding]:
    """All findings about credentials, rights and dead letters."""
    yield from credentials(facts)
    yield from rights(facts)
    yield from letters(facts)


def credentials(facts: Facts) -> Iterator[Finding]:
    who = facts.identity
    about = {"role": who.role, "name": who.name, "expires": who.expires and who.expires.isoformat()}
    if who.role != ROLE:
        what = (
            f"these are the credentials of {who.role}.{who.name}; an examination needs those of an operator"
        )
        mend = f"consort access issue operator {who.name} --out operator.creds"
        yield Finding("credentials", Level.WARNING, what, mend, about)
        return
    now = datetime.fromtimestamp(facts.now, UTC)
    if who.expires is not None and who.expires - now < EXPIRES_SOON:
        what = f"the credentials of {who.role}.{who.name} end in {span((who.expires - now).total_seconds())}"
        mend = f"consort access issue operator {who.name} --out operator.creds"
        yield Finding("credentials", Level.WARNING, what, mend, about)
        return
    ends = f", until {who.expires:%Y-%m-%d}" if who.expires is not None else ""
    yield Finding("credentials", Level.OK, f"the bus knows {who.role}.{who.name}{ends}", about=about)


def rights(facts: Facts) -> Iterator[Finding]:
    """What could not be looked at because the bus does not allow it."""
    denied = [one for one in facts.bus.unseen if one.denied]
    if not denied:
        yield Finding("rights", Level.OK, "everything could be looked at")
        return
    who = f"{facts.identity.role}.{facts.identity.name}"
    what = f"the bus does not let {who} look at {listed([one.what for one in denied])}"
    mend = f"consort access issue operator {facts.identity.name} --out operator.creds"
    if facts.identity.role == ROLE:
        what += ": it was set up for another version of Consort"
        mend = facts.at.local("access server-config --out consort.conf") + ", then reload the server with it"
    yield Finding("rights", Level.WARNING, what, mend, {"denied": [one.what for one in denied]})


def letters(facts: Facts) -> Iterator[Finding]:
    """What was set aside and is not settled, by kind."""
    kept = facts.letters
    if kept is None:
        return
    if not kept.unsettled:
        yield Finding(
            "letters", Level.OK, "no message is set aside that nobody has settled", about={"unsettled": 0}
        )
        return
    for kind, number in Counter(letter.kind for letter in kept.newest).most_common():
        of_kind = [letter for letter in kept.newest if letter.kind == kind]
        newest, oldest = of_kind[-1], of_kind[0]
        ages = f"the newest {span(facts.now - newest.at.timestamp())} ago"
        if number > 1:
            ages += f", the oldest {span(facts.now - oldest.at.timestamp())}"
        yield Finding(
            "letters",
            Level.WARNING,
            f"{counted(number, 'message')} set aside as {kind}, {ages}: {one_line(newest.reason, 160)}",
            facts.at.operator(f"dead show {newest.id}" if number == 1 else f"dead list --kind {kind}"),
            {
                "kind": kind,
                "count": number,
                "newest": newest.at.timestamp(),
                "oldest": oldest.at.timestamp(),
                "letters": [letter.id for letter in of_kind[-SHOWN:]],
                "runs": list(dict.fromkeys(letter.run for letter in of_kind if letter.run))[-SHOWN:],
            },
        )
    more = kept.unsettled - len(kept.newest)
    if more > 0:
        what = f"{counted(more, 'more message')} set aside before the newest {kept.looked_at}, not looked at"
        yield Finding("letters", Level.WARNING, what, facts.at.operator("dead list"), {"count": more})

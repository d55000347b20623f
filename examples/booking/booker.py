"""Books a seat, charges a card and prints a ticket; the world outside is a file in the current folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pydantic import BaseModel

from consort_agents import Agent, Context, SkillError

WORLD = Path("booking-world.jsonl")

agent = Agent("booker", description="Books trips, and takes bookings back.", slots=4, lease=2)


class Seat(BaseModel):
    booking: str
    price: int


def happens(what: str, **more: object) -> None:
    """Something changes outside, and nobody here can change it back by forgetting."""
    with WORLD.open("a", encoding="utf-8") as world:
        world.write(json.dumps({"what": what, **more}) + "\n")


@agent.skill("seat.book")
async def book(train: str, ctx: Context) -> Seat:
    def reserve(key: str) -> dict[str, object]:
        happens("seat reserved", train=train, booking=key[:8])
        return {"booking": key[:8], "price": 58}

    return Seat(**await ctx.once("reserve", reserve))


@agent.skill("seat.release")
async def release(booking: str, ctx: Context) -> None:
    await ctx.once("release", lambda: happens("seat released", booking=booking), unknown="redo")


@agent.skill("card.charge")
def charge(amount: int, slowly: float, ctx: Context) -> str:
    def pay(key: str) -> str:
        happens("card charged", amount=amount, receipt=key[:8])
        time.sleep(slowly)  # paid, and nobody knows yet: a good moment for kill -9
        return key[:8]

    receipt: str = ctx.once_sync("charge", pay)
    return receipt


@agent.skill("card.refund")
def refund(receipt: str, ctx: Context) -> None:
    ctx.once_sync("refund", lambda: happens("card refunded", receipt=receipt))


@agent.skill("ticket.print")
def print_ticket(booking: str, paper: bool) -> str:
    if not paper:
        raise SkillError("the printer is out of paper", retry=False)
    return f"ticket for booking {booking}"

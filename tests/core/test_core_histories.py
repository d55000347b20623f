"""Histories recorded by earlier versions fold to what they folded to then."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from consort_orchestrator.core import Run, fold, portrait
from consort_shared.codec import MSGPACK
from consort_shared.entries import body_digest
from consort_shared.upcast import read_entry

FILES = sorted((Path(__file__).parent.parent / "data" / "histories").glob("*/*.jsonl"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_a_recorded_history_folds_to_its_portrait(file: Path) -> None:
    head, *lines = (json.loads(line) for line in file.read_text().splitlines())
    bodies = [base64.b64decode(line["body"]) for line in lines]
    assert len(bodies) == head["entries"]
    run = fold(Run(head["run"]), [(read_entry(body, MSGPACK), body_digest(body)) for body in bodies])
    made = portrait(run)
    assert json.loads(json.dumps(made)) == head["portrait"]


def test_there_are_histories() -> None:
    assert len(FILES) >= 13

"""What calls cost: from the package of prices, and from a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from consort_agents.models.pricing import SETTING, cost_of, most_of
from consort_shared.errors import InvalidInput
from consort_shared.usage import NANO, Usage

MILLION = Usage(calls=1, input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.fixture(autouse=True)
def no_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)


def prices(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv(SETTING, str(path))


def test_models_have_prices_with_caches_and_tiers() -> None:
    assert cost_of("claude-sonnet-5-5", MILLION) == 12 * NANO
    assert cost_of("anthropic:claude-sonnet-5-5", MILLION) == 12 * NANO
    cached = Usage(input_tokens=1000, cache_read_tokens=400, cache_write_tokens=500, output_tokens=10)
    # 100 at 2, 400 at 0.10, 500 at 2.50, 10 at 10 USD per million
    assert cost_of("claude-sonnet-5-5", cached) == 1_590_000
    small, large = (Usage(input_tokens=n) for n in (1000, 1_000_000))
    assert (cost_of("claude-haiku-5-5", large) or 0) > 1000 * (cost_of("claude-haiku-5-5", small) or 0)


def test_a_model_without_a_price_costs_nothing_known() -> None:
    assert cost_of("model-of-tomorrow", MILLION) is None
    assert cost_of("scripted", MILLION) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.toml", '[models.mine]\ninput = 1\noutput = 2.5\ncache_read = 0.1\ncache_write = "1.25"\n'),
        ("p.yaml", "models:\n  mine: {input: 1, output: 2.5, cache_read: 0.1, cache_write: 1.25}\n"),
    ],
)
def test_prices_of_ones_own_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    prices(tmp_path / name, text, monkeypatch)
    assert cost_of("mine", MILLION) == 3.5 * NANO
    usage = Usage(input_tokens=1_000_000, cache_read_tokens=500_000, cache_write_tokens=100_000)
    assert cost_of("scripted:mine", usage) == (0.4 + 0.05 + 0.125) * NANO
    assert cost_of("claude-sonnet-5-5", MILLION) == 12 * NANO


def test_a_price_of_ones_own_counts_under_each_name_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider may answer under the name of a version; a price for the name that was asked for counts."""
    text = "models: {claude-sonnet-5-5: {input: 1, output: 0}, 'anthropic:other': {input: 2, output: 0}}"
    prices(tmp_path / "p.yaml", text, monkeypatch)
    answered_as = ("claude-sonnet-5-5", "claude-sonnet-5-5-20260915")
    assert cost_of("anthropic:claude-sonnet-5-5", MILLION, *answered_as) == NANO
    assert cost_of("anthropic:other", MILLION, "other", "other-2") == 2 * NANO
    assert cost_of("mine", MILLION, "mine", "claude-haiku-4-5") == 6 * NANO, "as the provider calls it"
    assert cost_of("anthropic:claude-haiku-4-5", MILLION, "claude-haiku-4-5", "served.gguf") == 6 * NANO


def test_the_most_a_call_can_cost_is_that_all_of_it_is_written_to_a_cache() -> None:
    """Invariant 4: what is reserved is not less than what may have to be paid."""
    usage = Usage(input_tokens=1_000_000)
    assert cost_of("claude-sonnet-5-5", usage) == 2 * NANO
    assert most_of("claude-sonnet-5-5", usage) == 2.5 * NANO
    assert most_of("model-of-tomorrow", usage) is None


def test_a_cache_without_a_price_costs_as_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices(tmp_path / "p.yaml", "models: {claude-sonnet-5-5: {input: 1, output: 0}}", monkeypatch)
    usage = Usage(input_tokens=1_000_000, cache_read_tokens=500_000)
    assert cost_of("claude-sonnet-5-5", usage) == NANO


def test_money_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices(tmp_path / "p.yaml", "models: {m: {input: 0.10, output: 0.30}}", monkeypatch)
    assert cost_of("m", Usage(input_tokens=3, output_tokens=1)) == 600
    total = sum(cost_of("m", Usage(input_tokens=1)) or 0 for _ in range(500))
    assert total == 50_000


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "p.yaml",
            "models:\n  mine:\n    input: -1\n    output: 2\n",
            r"line 3, models\.mine\.input.*USD per million",
        ),
        ("p.yaml", "models:\n  mine: {input: 1}\n", r"models\.mine\.output: Field required"),
        ("p.yaml", "models:\n  mine: {input: 1, output: 2, cached: 1}\n", r"line 2, models\.mine\.cached"),
        ("p.yaml", "mine: {input: 1, output: 2}\n", "models: Field required"),
        ("p.yaml", "models: [\n", "not YAML"),
        ("p.toml", "models = [", "not TOML"),
        ("p.toml", "[models.m]\ninput = nan\noutput = 1\n", r"models\.m\.input"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, told: str
) -> None:
    prices(tmp_path / name, text, monkeypatch)
    with pytest.raises(InvalidInput, match=told):
        cost_of("mine", MILLION)


def test_a_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "nowhere.yaml")
    with pytest.raises(InvalidInput, match=r"nowhere.yaml: cannot be read.*CONSORT_PRICES"):
        cost_of("mine", MILLION)

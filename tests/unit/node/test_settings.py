"""Settings from the environment, and what is said when it is not right."""

from __future__ import annotations

import os

import pytest
from pydantic import SecretStr

from jil.node.settings import (
    BrokerSettings,
    ChainSettings,
    DatabaseSettings,
    Identity,
    Listen,
    SettingsError,
    load,
    load_optional,
)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("JIL_"):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_identity_is_read_from_its_three_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, JIL_NODE_ID="CH-ZUG-01", JIL_REGION="ch-zug", JIL_JURISDICTION="CH/FINMA")
    identity = load(Identity)
    assert (identity.node_id, identity.region, identity.jurisdiction) == ("CH-ZUG-01", "ch-zug", "CH/FINMA")


def test_a_missing_variable_is_named_with_what_sets_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load(DatabaseSettings)
    text = str(caught.value)
    for variable in ("JIL_DATABASE_HOST", "JIL_DATABASE_NAME", "JIL_DATABASE_USER", "JIL_DATABASE_PASSWORD"):
        assert f"environment variable {variable} is not set" in text
    assert "include `database`" in text


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, JIL_NODE_ID="", JIL_REGION="r", JIL_JURISDICTION="j")
    with pytest.raises(SettingsError, match="JIL_NODE_ID is not set"):
        load(Identity)


def test_a_wrong_value_is_told_without_the_value_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        JIL_DATABASE_HOST="h",
        JIL_DATABASE_PORT="70000",
        JIL_DATABASE_NAME="n",
        JIL_DATABASE_USER="u",
        JIL_DATABASE_PASSWORD="s3cret-value",
    )
    with pytest.raises(SettingsError) as caught:
        load(DatabaseSettings)
    assert "JIL_DATABASE_PORT is wrong" in str(caught.value)
    assert "s3cret-value" not in str(caught.value)
    monkeypatch.setenv("JIL_DATABASE_PORT", "5433")
    settings = load(DatabaseSettings)
    assert settings.port == 5433
    assert "s3cret-value" not in repr(settings)
    assert settings.secrets() == ("s3cret-value",)


def test_a_default_holds_only_where_the_environment_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(Listen, port=8081).port == 8081
    monkeypatch.setenv("JIL_PORT", "9000")
    assert load(Listen, port=8081).port == 9000


@pytest.mark.parametrize("seeds", ["broker", "broker:", ":9092", "broker:x", "broker:0", "broker:70000", "a:1,b"])
def test_a_seed_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, seeds: str) -> None:
    monkeypatch.setenv("JIL_BROKER_SEEDS", seeds)
    with pytest.raises(SettingsError, match=r"JIL_BROKER_SEEDS is wrong: .*host:port"):
        load(BrokerSettings)


def test_seeds_are_taken_apart() -> None:
    assert BrokerSettings(seeds="a:1, b.ns.svc:9092").addresses() == [("a", 1), ("b.ns.svc", 9092)]


def test_a_group_that_is_not_configured_at_all_is_none_and_half_of_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_optional(ChainSettings) is None
    assert load_optional(DatabaseSettings) is None
    monkeypatch.setenv("JIL_RPC_URL", "http://node-rpc:26657")
    assert load_optional(ChainSettings) == ChainSettings(url="http://node-rpc:26657")
    monkeypatch.setenv("JIL_DATABASE_HOST", "h")
    with pytest.raises(SettingsError, match="JIL_DATABASE_NAME is not set"):
        load_optional(DatabaseSettings)


@pytest.mark.parametrize("url", ["node-rpc:26657", "ftp://node", "http://node/path", "http://"])
def test_an_rpc_address_that_is_no_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("JIL_RPC_URL", url)
    with pytest.raises(SettingsError, match="JIL_RPC_URL is wrong"):
        load(ChainSettings)


def test_settings_made_in_code_do_not_look_at_the_environment_for_what_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JIL_DATABASE_HOST", "elsewhere")
    made = DatabaseSettings(host="here", name="n", user="u", password=SecretStr("p"))
    assert made.host == "here"

"""What the embedded service reads from its environment, and hands to its children."""

import socket
from pathlib import Path

import pytest

from infra.embedded.failures import CannotStart
from infra.embedded.port import free_port, refuse_taken_port
from infra.embedded.service import services_for
from infra.embedded.settings import EmbeddedSettings, child_environment

SETTINGS = EmbeddedSettings(Path("/srv/to w"), "127.0.0.1", 8001, redis_url=None)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "PORT", "HOST", "REDIS_URL", "PUBLIC_URL", "ENGINES", "DATABASE_URL"):
        monkeypatch.delenv(f"TOWLINE_{name}", raising=False)


def environment(**given: str) -> dict[str, str]:
    return child_environment(SETTINGS, redis_url="redis://b", secret_key="s3", given=given)


def test_defaults_are_port_8000_and_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = EmbeddedSettings.read()
    assert (settings.port, settings.home) == (8000, tmp_path / ".towline")
    assert settings.redis_url is None


@pytest.mark.parametrize("port", ["eight", "0", "65536", "-1", "80.5"])
def test_port_is_refused_in_one_line_when_it_is_none(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOWLINE_PORT", port)
    with pytest.raises(CannotStart, match="TOWLINE_PORT: ") as refusal:
        EmbeddedSettings.read()
    assert "\n" not in str(refusal.value)


def test_variable_is_refused_when_it_is_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_PROT", "8001")
    with pytest.raises(CannotStart, match="TOWLINE_PROT"):
        EmbeddedSettings.read()


def test_no_broker_is_started_when_a_redis_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_REDIS_URL", "redis://elsewhere:6379/3")
    assert EmbeddedSettings.read().redis_url == "redis://elsewhere:6379/3"


def test_children_get_what_embedded_mode_needs() -> None:
    assert environment() == {
        "TOWLINE_HOME": "/srv/to w",
        "TOWLINE_HOST": "127.0.0.1",
        "TOWLINE_PORT": "8001",
        "TOWLINE_DATABASE_URL": "sqlite:////srv/to w/towline.db",
        "TOWLINE_REDIS_URL": "redis://b",
        "TOWLINE_SECRET_KEY": "s3",
        "TOWLINE_PUBLIC_URL": "http://127.0.0.1:8001",
        "TOWLINE_ENGINES": "warp",
        "PYTHONUNBUFFERED": "1",
    }


def test_children_get_what_the_user_set_and_the_rest_of_the_environment() -> None:
    given = environment(
        TOWLINE_ENGINES="lightningdrag,warp",
        TOWLINE_LEASE_S="5",
        TOWLINE_SECRET_KEY="",
        PATH="/bin",
    )
    assert given["TOWLINE_ENGINES"] == "lightningdrag,warp"
    assert given["TOWLINE_LEASE_S"] == "5"
    assert given["TOWLINE_SECRET_KEY"] == "s3"  # an empty variable is one that is not set
    assert given["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8001"),
        ("0.0.0.0", "http://127.0.0.1:8001"),  # noqa: S104
        ("::", "http://[::1]:8001"),
        ("192.0.2.7", "http://192.0.2.7:8001"),
    ],
)
def test_api_is_reached_from_this_machine_whatever_it_listens_on(host: str, url: str) -> None:
    assert EmbeddedSettings(Path("/srv"), host, 8001, None).local_url == url


def test_port_is_refused_with_another_to_choose_when_it_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} is in use.*TOWLINE_PORT=\d+"):
            refuse_taken_port("127.0.0.1", port)


def test_address_is_refused_in_one_line_when_it_is_not_of_this_machine() -> None:
    with pytest.raises(CannotStart, match=r"cannot listen on 192\.0\.2\.7:8000"):
        refuse_taken_port("192.0.2.7", 8000)


def test_free_port_lies_below_those_of_outgoing_connections() -> None:
    port = free_port()
    assert 20_000 <= port < 30_000
    refuse_taken_port("127.0.0.1", port)


def test_every_engine_has_a_worker() -> None:
    services = services_for(("warp", "lightningdrag"))
    assert services["worker-lightningdrag"] == ("worker", "run", "--queues", "lightningdrag")
    assert list(services) == ["api", "worker-warp", "worker-lightningdrag", "worker-io", "beat"]


def test_a_model_folder_is_refused_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_MODEL_DIR", "/nowhere")
    with pytest.raises(CannotStart, match="TOWLINE_MODEL_DIR: there is no folder /nowhere"):
        EmbeddedSettings.read()


def test_children_find_the_model_from_wherever_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOWLINE_MODEL_DIR", "models")
    settings = EmbeddedSettings.read()
    given = {"TOWLINE_MODEL_DIR": "models"}
    made = child_environment(settings, redis_url="", secret_key="", given=given)
    assert made["TOWLINE_MODEL_DIR"] == str(tmp_path / "models")

"""The app settings: one message names everything that is wrong, and quotes no secret."""

import pytest

from shared.settings import Settings, SettingsError, read_settings

KEY = "AccountKey-that-nobody-may-see=="
CONNECTION = (
    f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net"
)
SECRET = "a secret that nobody may see"
GOOD = {
    "MODEL_STORAGE": CONNECTION,
    "EMBEDDED_ACCOUNT_ID": "30ea64bd-100f-4bf0-adc9-29fa45d4880c",
    "EMBEDDED_ACCOUNT_KEY": SECRET,
    "WEBSITE_HOSTNAME": "app.example.net",
}


def read(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {**GOOD, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return read_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> str:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **changes)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        assert KEY not in repr(error)
        error = error.__cause__
    assert caught.value.__suppress_context__
    return str(caught.value)


def test_the_least_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings.own_url == "https://app.example.net"
    assert settings.serves == {"remote-rendering"}
    assert settings.linked_containers == frozenset()
    assert settings.convert_since is None


def test_one_message_names_every_setting_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(
        monkeypatch,
        EMBEDDED_ACCOUNT_ID=None,
        EMBEDDED_ACCOUNT_KEY="short",
        MAX_IN_FLIGHT="-1",
        GRACE_SECONDS="soon",
        CONVERT_SINCE="2026-01-31",
        DEFAULT_FORMATS="glb",
        EMBEDDED_APIS="remote-rendering,acme",
        EMBEDDED_BLOB_URL="https://blob.example.net",
    )
    for name in (
        "EMBEDDED_ACCOUNT_ID",
        "EMBEDDED_ACCOUNT_KEY",
        "MAX_IN_FLIGHT",
        "GRACE_SECONDS",
        "CONVERT_SINCE",
        "DEFAULT_FORMATS",
        "EMBEDDED_APIS",
        "EMBEDDED_BLOB_URL",
    ):
        assert f"{name}: " in message
    assert "short" not in message.replace("shorten", "")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MODEL_STORAGE": None}, "MODEL_STORAGE__blobServiceUri"),
        ({"MODEL_STORAGE__blobServiceUri": "https://acc.blob.core.windows.net"}, "not both"),
        ({"CONVERTED_CONTAINER": "models"}, "four different containers"),
        ({"POLL_FLOOR_SECONDS": "400"}, "POLL_FLOOR_SECONDS"),
        ({"EMBEDDED_LINKED_CONTAINERS": "acc/in-flight"}, "the bundle's own state"),
        ({"EMBEDDED_LINKED_CONTAINERS": "acc/embedded"}, "the bundle's own state"),
        ({"EMBEDDED_LINKED_CONTAINERS": "acc"}, "account/container"),
        ({"WEBSITE_HOSTNAME": None}, "REMOTE_RENDERING_ENDPOINT"),
        (
            {
                "WEBSITE_HOSTNAME": None,
                "REMOTE_RENDERING_ENDPOINT": "https://arr.test",
                "REMOTE_RENDERING_ACCOUNT_ID": "30ea64bd-100f-4bf0-adc9-29fa45d4880c",
                "EMBEDDED_APIS": "api2convert",
            },
            "EMBEDDED_APIS",
        ),
        ({"REMOTE_RENDERING_ENDPOINT": "westeurope"}, "REMOTE_RENDERING_ACCOUNT_ID"),
        ({"REMOTE_RENDERING_ACCOUNT_ID": "me"}, "REMOTE_RENDERING_ACCOUNT_ID: must be a UUID"),
        ({"MODEL_DERIVATIVE_CLIENT_ID": "me"}, "MODEL_DERIVATIVE_CLIENT_SECRET: set both or none"),
        ({"MODEL_DERIVATIVE_REGION": "MARS"}, "MODEL_DERIVATIVE_REGION"),
        ({"MODEL_DERIVATIVE_BUCKET": "My Bucket"}, "MODEL_DERIVATIVE_BUCKET"),
        ({"MODEL_DERIVATIVE_WEBHOOK_TOKEN": "long enough for all,short"}, "MODEL_DERIVATIVE_WEBHOOK_TOKEN"),
        ({"DEADLINE_SECONDS": "0"}, "DEADLINE_SECONDS"),
        ({"REFERENCE_READ_BYTES": "2000000"}, "REFERENCE_READ_BYTES"),
        ({"DEFAULT_SERVICE": "acme"}, "DEFAULT_SERVICE"),
    ],
)
def test_what_contradicts_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], named: str
) -> None:
    assert named in refusal(monkeypatch, **changes)


def test_an_identity_takes_the_place_of_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        MODEL_STORAGE=None,
        MODEL_STORAGE__blobServiceUri="https://acc.blob.core.windows.net",
        MODEL_STORAGE__queueServiceUri="https://acc.queue.core.windows.net",
        MODEL_STORAGE__clientId="some-client",
    )
    assert settings.model_storage is None
    assert settings.identity_client_id == "some-client"


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        REMOTE_RENDERING_ENDPOINT="https://service.example.net",
        REMOTE_RENDERING_ACCOUNT_ID=GOOD["EMBEDDED_ACCOUNT_ID"],
        REMOTE_RENDERING_ACCOUNT_KEY=SECRET + " two",
        REMOTE_RENDERING_TOKEN=SECRET + " three",
        MODEL_DERIVATIVE_CLIENT_ID="me",
        MODEL_DERIVATIVE_CLIENT_SECRET=SECRET + " four",
        MODEL_DERIVATIVE_WEBHOOK_TOKEN=SECRET + " five",
    )
    assert SECRET not in repr(settings) + str(settings)
    assert KEY not in repr(settings) + str(settings)


def test_the_newest_token_of_the_webhook_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).webhook_tokens == ()
    settings = read(monkeypatch, MODEL_DERIVATIVE_WEBHOOK_TOKEN="the newest token, the one before it")
    assert settings.webhook_tokens == ("the newest token", "the one before it")


def test_an_empty_setting_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, MAX_IN_FLIGHT="", CONVERT_SINCE="").max_in_flight == 0


def test_default_formats_are_the_default_services(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = {"remote-rendering": [{"type": "glb"}], "api2convert": [{"type": "obj"}]}
    settings = read(monkeypatch, DEFAULT_FORMATS='[{"type": "stl"}]')
    assert settings.default_formats_of(built_in) == {**built_in, "remote-rendering": [{"type": "stl"}]}

"""A request without the token, under another name or from another site is rejected; a name can't leave the root."""

import json
from pathlib import Path
from typing import Any

import pytest

from mingpt.cli.play.security import Names

API = [("GET", path) for path in ("state", "runs", "run?name=gpt")] + [("POST", path) for path in ("write", "next")]


@pytest.mark.parametrize("token", [None, "", "0" * 32, "é" * 32])
@pytest.mark.parametrize(("method", "path"), API)
def test_api_needs_the_token(client: Any, method: str, path: str, token: str | None) -> None:
    headers = {} if token is None else {"X-Token": token.encode("utf-8")}
    found = client.ask(method, f"/api/{path}", b"{}" if method == "POST" else None, headers)
    assert found.status == 403
    assert "token: missing or wrong" in found.error


def test_token_in_the_address_opens_the_page_alone(client: Any) -> None:
    assert client.ask("GET", f"/?token={client.token}").status == 200
    assert client.ask("GET", "/?token=wrong").status == 403
    assert client.ask("GET", f"/api/state?token={client.token}").status == 403


def test_page_holds_nothing_of_the_user_and_needs_no_token(client: Any) -> None:
    found = client.ask("GET", "/")
    assert found.status == 200
    assert client.token.encode() not in found.content


@pytest.mark.parametrize("host", ["evil.com", "evil.com:8642", "localhost.evil.com", "127.0.0.1.evil.com", "", "[::1"])
@pytest.mark.parametrize("path", ["/", "/api/state", "/static/app.js"])
def test_other_name_of_this_server_is_rejected(client: Any, host: str, path: str) -> None:
    found = client.ask("GET", path, None, {"Host": host, "X-Token": client.token})
    assert found.status in (400, 403)
    assert b"Host" in found.content or b"Invalid HTTP" in found.content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_names_of_this_machine_are_served_at_any_port_of_a_tunnel(client: Any, host: str) -> None:
    headers = {"Host": f"{host}:9999", "Origin": f"http://{host}:9999", "X-Token": client.token}
    assert client.ask("GET", "/api/state", None, headers).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://localhost:1", "http://127.0.0.1", "https://127.0.0.1.evil.com", ""]
)
def test_page_of_another_site_may_not_ask(client: Any, origin: str) -> None:
    found = client.ask("GET", "/api/state", None, {"Origin": origin, "X-Token": client.token})
    assert found.status == 403
    assert "Origin" in found.error


def test_every_answer_has_the_headers_that_bind_the_browser(client: Any) -> None:
    answers = [client.ask("GET", "/"), client.get("state"), client.ask("GET", "/api/state"), client.get("nothing")]
    assert [found.status for found in answers] == [200, 200, 403, 404]
    for found in answers:
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in found.headers


def test_address_that_opens_the_browser_works_once(client: Any) -> None:
    first = client.ask("GET", f"/open?once={client.page.once}")
    assert (first.status, first.headers["location"]) == (303, f"/?token={client.token}")
    assert client.ask("GET", f"/open?once={client.page.once}").status == 403
    assert client.ask("GET", "/open?once=").status == 403


OUTSIDE = ["../out/gpt", "/etc", "more/../gpt", "gpt\0", ".", "", "more", "out", "nothing", "link"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_name_that_is_no_run_below_the_root_is_rejected(client: Any, root: Path, name: str) -> None:
    if not (root / "link").is_symlink():
        (root.parent / "elsewhere").mkdir()
        (root.parent / "elsewhere/config.yaml").write_text("{}")
        (root / "link").symlink_to(root.parent / "elsewhere")
    found = client.post("write", name=name, prompt="a") if name else client.get("run", name=name)
    assert found.status in (400, 404)
    assert "must be the path of a run below" in found.error or "no run here" in found.error


def test_own_file_that_is_a_link_is_rejected(client: Any, root: Path) -> None:
    run = root / "linked"
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text((root / "gpt/config.yaml").read_text())
    (run / "metrics.jsonl").symlink_to("/etc/passwd")
    try:
        assert "a link" in client.get("run", name="linked").error
        entry = next(each for each in client.get("runs").json if each["name"] == "linked")
        assert "a link" in entry["error"]
    finally:
        (run / "metrics.jsonl").unlink()
        (run / "config.yaml").unlink()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "must be"),
        (b'{"prompt": "a"}', "name is missing"),
        (b'{"name": 3}', "name must be a valid string, is 3"),
        (b'{"name": "gpt", "settings": {"temperature": "hot"}}', "settings.temperature must be"),
        (b'{"name": "gpt", "settings": {"temperature": NaN}}', "settings.temperature must be a finite number"),
        (b'{"name": "gpt", "settings": {"temprature": 1}}', "temprature"),
        (b'{"name": "gpt", "ids": [-1]}', "ids"),
        (b'{"name": "gpt", "ids": []}', "ids"),
        (b'{"name": "gpt", "prompt": "' + b"a" * 30_000 + b'"}', "prompt"),
        (b'{"name": "gpt", "prompt": "' + b"a" * 2_000_000 + b'"}', "1,048,576 bytes"),
        (b"[" * 100_000, "not JSON"),
        (b'{"name": "gpt", "settings": {"max_new_tokens": 1000000}}', "must be at most 5,000"),
        (b'{"name": "gpt", "settings": {"top_p": 0}}', "top_p=0: must be above 0"),
        (b'{"name": "gpt", "ids": [9999]}', "must be below the vocabulary's size"),
        (b'{"name": "gpt", "prompt": "\xe2\x82\xac"}', "unknown to this vocabulary"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_wrong_body_is_rejected_in_one_line(client: Any, body: bytes, said: str) -> None:
    found = client.ask("POST", "/api/write", body, {"X-Token": client.token})
    assert found.status == 400
    assert said in found.error
    assert "\n" not in found.error


def test_methods_and_paths_that_there_are_not_are_rejected(client: Any) -> None:
    assert client.ask("POST", "/api/state", b"{}", {"X-Token": client.token}).status == 405
    assert client.ask("GET", "/static/../../security.py").status == 404
    assert client.ask("GET", "/static/%2e%2e/server.py").status == 404


def test_wildcard_address_is_served_by_addresses_and_the_name_of_this_machine() -> None:
    names = Names("0.0.0.0")
    assert all(map(names.serve, ["192.168.1.5:8642", "[fe80::1]:8642", "localhost"]))
    assert not any(map(names.serve, ["evil.com", "192.168.1.5.evil.com"]))
    assert not Names("127.0.0.1").serve("192.168.1.5")


def test_every_error_is_json_of_one_line(client: Any) -> None:
    assert json.loads(client.get("run", name="gtp").content) == {"error": "gtp: no run here (did you mean 'gpt'?)"}

"""OIDC tokens are refreshed at a provider that speaks TLS and checks what it gets; the kubeconfig keeps pace."""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme

from pytest_ephemeral_ns.clusters.current import connect, load_config, refresh
from pytest_ephemeral_ns.connection import Connection
from pytest_ephemeral_ns.errors import ClusterError, UsageError
from tests.clusters.kubeconfigs import encode, jwt, kubeconfig, write

GOOD_UNTIL = time.time() + 86_400  # the run of all tests takes its time
OLD, NEW = jwt(exp=time.time() - 60), jwt(exp=GOOD_UNTIL)


class Provider:
    """An identity provider with one client and one valid refresh token, which it replaces at each use."""

    def __init__(self, url: str, ca: str) -> None:
        self.url, self.ca = url, ca
        self.refresh_token = "refresh-1"
        self.takes = "header"
        self.asked: list[str] = []
        self.answer: dict[str, Any] | None = None

    def redeem(self, form: dict[str, list[str]], authorization: str) -> tuple[int, dict[str, Any]]:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        in_form = f"{form.get('client_id', [''])[0]}:{form.get('client_secret', [''])[0]}"
        self.asked.append("header" if authorization else "form")
        if (pair if self.takes == "header" else in_form) not in ("shop:s3cret", "shop:"):
            return 401, {"error": "invalid_client"}
        if form["refresh_token"] != [self.refresh_token]:
            return 400, {"error": "invalid_grant", "error_description": "refresh token was used before"}
        self.refresh_token = "refresh-2"
        return 200, self.answer or {"id_token": NEW, "refresh_token": self.refresh_token}


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"token_endpoint": f"{it.url}/token"})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.reply(*it.redeem(form, self.headers.get("Authorization", "")))

        def reply(self, status: int, value: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        it = Provider(f"https://localhost:{server.server_port}", authority.cert_pem.bytes().decode())
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield it
        server.shutdown()
        thread.join()


@pytest.fixture
def connected(provider: Provider, tmp_path: Path) -> Callable[..., Connection]:
    def connect_with(**settings: Any) -> Connection:
        known = {
            "client-id": "shop",
            "client-secret": "s3cret",
            "id-token": OLD,
            "refresh-token": "refresh-1",
            "idp-issuer-url": provider.url,
            "idp-certificate-authority-data": encode(provider.ca),
        }
        user = {"auth-provider": {"name": "oidc", "config": {**known, **settings}}}
        text = "# mine\n" + json.dumps(kubeconfig("shop", user=user), indent=1)
        return connect(load_config(write(tmp_path / "config", text)))

    return connect_with


def test_a_token_that_is_still_good_is_used(connected: Callable[..., Connection], provider: Provider) -> None:
    connection = connected(**{"id-token": NEW})
    assert (connection.token, connection.refreshable, provider.asked) == (NEW, True, [])
    assert connection.expires_at == pytest.approx(GOOD_UNTIL, abs=120)


def test_a_new_token_is_got_and_written_back(
    connected: Callable[..., Connection], provider: Provider, tmp_path: Path
) -> None:
    connection = connected()
    assert connection.token == NEW
    text = (tmp_path / "config").read_text()
    assert text.startswith("# mine\n")
    assert all(part in text for part in (NEW, "refresh-2"))
    assert not any(part in text for part in (OLD, "refresh-1"))
    assert refresh(connection).token == NEW
    assert provider.asked == ["header"]


def test_the_file_keeps_its_mode(connected: Callable[..., Connection], tmp_path: Path) -> None:
    write(tmp_path / "config", "").chmod(0o640)
    connected()
    assert stat.S_IMODE(os.stat(tmp_path / "config").st_mode) == 0o640


def test_a_provider_that_wants_the_client_in_the_form(connected: Callable[..., Connection], provider: Provider) -> None:
    provider.takes = "form"
    assert connected().token == NEW
    assert provider.asked == ["header", "form"]


def test_a_public_client(connected: Callable[..., Connection], provider: Provider) -> None:
    provider.takes = "form"
    assert connected(**{"client-secret": ""}).token == NEW
    assert provider.asked == ["form"]


def test_a_ca_file(connected: Callable[..., Connection], provider: Provider, tmp_path: Path) -> None:
    write(tmp_path / "idp.crt", provider.ca)
    assert connected(**{"idp-certificate-authority-data": "", "idp-certificate-authority": "idp.crt"}).token == NEW


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "used before": ({"refresh-token": "refresh-0"}, "refresh token was used before"),
    "wrong client": ({"client-secret": "wrong"}, "401 Unauthorized"),
    "unknown CA": ({"idp-certificate-authority-data": ""}, "CERTIFICATE_VERIFY_FAILED"),
    "not https": ({"idp-issuer-url": "http://localhost:1"}, "is not https"),
    "nobody there": ({"idp-issuer-url": "https://localhost:1"}, "Connection refused"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_no_new_token_is_an_error(case: str, connected: Callable[..., Connection], tmp_path: Path) -> None:
    settings, says = REFUSALS[case]
    with pytest.raises(ClusterError, match=r"user shop: the id-token ended at .* did not give a new one") as caught:
        connected(**settings)
    text = str(caught.value)
    assert says in text
    assert "log in again" in text
    assert not any(secret in text for secret in (OLD, "refresh-0", "refresh-1", "s3cret"))


def test_a_provider_that_gives_no_id_token(connected: Callable[..., Connection], provider: Provider) -> None:
    provider.answer = {"access_token": "x"}
    with pytest.raises(ClusterError, match="there is no 'id_token' in its answer"):
        connected()


def test_without_a_refresh_token(connected: Callable[..., Connection]) -> None:
    with pytest.raises(UsageError, match=r"the id-token ended at .*; there is no refresh-token for a new one"):
        connected(**{"refresh-token": ""})

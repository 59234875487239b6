"""HTTPS, and client certificates where a CA is given."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .serving import Serve
from .test_serve import lookout

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: no certificates"
)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-nodes", "-days", "1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *files, *subject], check=True, capture_output=True)
    return cert, key


def get(url: str, context: ssl.SSLContext) -> int:
    with urllib.request.urlopen(f"{url}/-/ready", timeout=10, context=context) as answer:
        return int(answer.status)


def test_https(serve: Serve, tmp_path: Path) -> None:
    """The certificate given is the one served."""
    cert, key = certificate(tmp_path, "server")
    serving = serve("--tls-cert", str(cert), "--tls-key", str(key))
    assert serving.url.startswith("https://")
    assert get(serving.url, ssl.create_default_context(cafile=str(cert))) == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(serving.url, ssl.create_default_context())
    assert serving.terminate() == 0


def test_missing_certificate(tmp_path: Path) -> None:
    """The setting and the file that cannot be read are named."""
    absent = str(tmp_path / "absent.pem")
    status, lines = lookout(
        "serve", "--listen", "127.0.0.1:0", "--tls-cert", absent, "--tls-key", absent
    )
    assert status == 2
    assert lines == [f"lookout: tls_cert: cannot read {absent}: no such file or directory"]


def test_client_certificates(serve: Serve, tmp_path: Path) -> None:
    """Without a certificate of the CA there is no connection."""
    cert, key = certificate(tmp_path, "server")
    client, client_key = certificate(tmp_path, "client")
    flags = ["--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(client)]
    serving = serve(*flags)
    context = ssl.create_default_context(cafile=str(cert))
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        get(serving.url, context)
    context.load_cert_chain(client, client_key)
    assert get(serving.url, context) == 200


def test_a_bad_certificate_is_one_line(tmp_path: Path) -> None:
    """A file that is no certificate is the user's mistake."""
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    place = ["--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0"]
    status, lines = lookout("serve", *place, "--tls-cert", str(bad), "--tls-key", str(bad))
    assert (status, len(lines)) == (2, 1), lines
    assert str(bad) in lines[0]


def test_a_silent_handshake_is_ended(serve: Serve, tmp_path: Path) -> None:
    """A client that connects and says nothing holds its connection no longer than is allowed."""
    cert, key = certificate(tmp_path, "server")
    flags = ["--tls-cert", str(cert), "--tls-key", str(key)]
    serving = serve(*flags, env={"LOOKOUT_TLS_HANDSHAKE_TIMEOUT": "0.3"})
    host, port = serving.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as silent:
        assert silent.recv(1) == b""  # without the limit this is after a minute, beyond the timeout
    assert get(serving.url, ssl.create_default_context(cafile=str(cert))) == 200

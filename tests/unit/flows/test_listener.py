"""Keys and certificates of the address that clients send to, in the spec file and in what is stored of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockgate.flows import doctor
from lockgate.flows.cli import cli
from lockgate.flows.errors import SpecError
from lockgate.flows.spec import Spec, load, parse

TEXT = """
name: toy
model: {name: toy}
rollout:
  traffic:
    clients: {keys: {shop: "${SHOP_KEY}", batch: ["${BATCH_KEY}", "${OLD_KEY}"]}}
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
"""
SECURE = TEXT.replace('clients: {keys: {shop: "${SHOP_KEY}", batch: ["${BATCH_KEY}", "${OLD_KEY}"]}}', "tls: {TLS}")
KEYS = {"SHOP_KEY": "hunter2-shop-of-today", "BATCH_KEY": "hunter2-batch-of-today", "OLD_KEY": "hunter2-batch-before"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def _run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.usefixtures("environment")
def test_what_is_stored_names_the_variables_and_is_read_with_new_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(TEXT)
    assert spec.rollout.traffic.clients is not None
    assert spec.rollout.traffic.clients.keys == {
        "shop": (KEYS["SHOP_KEY"],),
        "batch": (KEYS["BATCH_KEY"], KEYS["OLD_KEY"]),
    }
    stored = json.dumps(spec.document)
    rollout = spec.rollout.without_secrets(spec.hide)
    for shown in (stored, repr(spec), str(spec.rollout), rollout.model_dump_json(), spec.hide(str(KEYS))):
        assert "hunter2" not in shown
    assert '"shop": ["${SHOP_KEY}"]' in stored
    assert type(rollout).model_validate_json(rollout.model_dump_json()) == rollout
    monkeypatch.setenv("SHOP_KEY", "hunter2-shop-of-tomorrow")
    again = Spec.of(json.loads(stored))
    assert again.rollout.traffic.clients is not None
    assert again.rollout.traffic.clients.keys["shop"] == ("hunter2-shop-of-tomorrow",)
    assert again.document == spec.document  # so an open rollout goes on with them


def test_a_key_in_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(SpecError) as refused:
        parse(TEXT.replace("${OLD_KEY}", "hunter2-in-the-file-itself"), environment=KEYS)
    assert "batch[1]: a key is a secret, and this file is not" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_paths_begin_at_the_spec_and_are_stored_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "specs" / "lockgate.yaml"
    file.parent.mkdir()
    file.write_text(SECURE.replace("TLS", "certificate: ../tls/server.crt, key: server.key, client_ca: /etc/ca.pem"))
    monkeypatch.chdir(tmp_path)
    specs = [load(file), load("specs/lockgate.yaml")]
    monkeypatch.chdir("/")
    specs.append(Spec.of(specs[0].document))
    for spec in specs:
        assert spec.rollout.traffic.tls is not None
        assert spec.rollout.traffic.tls.certificate == str(tmp_path / "tls" / "server.crt")
        assert spec.rollout.traffic.tls.key == str(file.parent / "server.key")
        assert spec.rollout.traffic.tls.client_ca == "/etc/ca.pem"
        assert spec.rollout.traffic.url == "https://127.0.0.1:8080"


def test_validate_and_doctor_look_at_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl") or pytest.skip("needs openssl to make a certificate")
    monkeypatch.chdir(tmp_path)
    Path("lockgate.yaml").write_text(SECURE.replace("TLS", "certificate: server.crt, key: server.key"))
    result = _run("validate")
    assert result.exit_code == 2
    place = "lockgate.yaml: rollout.traffic.tls.certificate: "
    assert result.stderr == f"{place}there is no file {tmp_path / 'server.crt'}\n"
    assert json.loads(_run("validate", "--json").stdout)["problems"][0]["path"] == "rollout.traffic.tls.certificate"
    assert load("lockgate.yaml").name == "toy"  # `status` and `down` need no certificate
    assert [(c.state, "no file" in c.says) for c in doctor.files(load("lockgate.yaml"))] == [("missing", True)]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=x", "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(command, check=True, capture_output=True)
    assert _run("validate").exit_code == 0
    assert [c.state for c in doctor.files(load("lockgate.yaml"))] == ["ok"]
    Path("server.key").chmod(0o644)
    assert "chmod 600" in _run("validate").stderr

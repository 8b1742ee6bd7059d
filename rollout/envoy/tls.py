"""HTTPS: Envoy reads the certificate's files itself, and again whenever one is renamed into their folders."""

from __future__ import annotations

import json
import os
import ssl
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.resources import Resource, duration, extension, typed, watched
from lockgate.rollout.protection import Tls
from lockgate.rollout.spec import Traffic

SECRETS = {"sds_certificate": "sds.certificate", "sds_client_ca": "sds.client_ca"}
"""The watched files, and the names under which Envoy counts what became of each. Each holds one secret."""

_V3 = "envoy.extensions.transport_sockets.tls.v3"
_SECONDS_TO_SHAKE_HANDS = 5.0
_MOST_BYTES = 2**20


def secrets(traffic: Traffic) -> dict[str, list[Resource]]:
    """By the watched file. They name the PEM files: what is in those is never copied."""
    tls = traffic.tls
    if not tls:
        return {}
    pair = {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}
    found = {"sds_certificate": [typed(f"{_V3}.Secret", name="certificate", tls_certificate=pair)]}
    if tls.client_ca:
        authorities = {"trusted_ca": {"filename": tls.client_ca}}
        found["sds_client_ca"] = [typed(f"{_V3}.Secret", name="client_ca", validation_context=authorities)]
    return found


def wanted_by(listeners: Iterable[Resource]) -> tuple[str, ...]:
    """The watched files of the secrets that `listeners` ask for."""
    asked = json.dumps([chain.get("transport_socket") for one in listeners for chain in one["filter_chains"]])
    return tuple(name for name in SECRETS if f"/{name}.json" in asked)


def named(found: Mapping[str, list[Resource]]) -> Tls | None:
    """The PEM files that secrets name."""
    if "sds_certificate" not in found:
        return None
    pair = found["sds_certificate"][0]["tls_certificate"]
    authorities = found["sds_client_ca"][0]["validation_context"]["trusted_ca"] if "sds_client_ca" in found else {}
    return Tls(
        certificate=pair["certificate_chain"]["filename"],
        key=pair["private_key"]["filename"],
        client_ca=authorities.get("filename"),
    )


def transport(traffic: Traffic, at: Folder) -> Resource:
    """For the filter chain; nothing where clients speak HTTP."""
    tls = traffic.tls
    if not tls:
        return {}
    known: Resource = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_secret(at, "certificate")],
    }
    if tls.client_ca:
        known["validation_context_sds_secret_config"] = _secret(at, "client_ca")
    context = extension(
        "envoy.transport_sockets.tls",
        f"{_V3}.DownstreamTlsContext",
        common_tls_context=known,
        require_client_certificate=bool(tls.client_ca),
    )
    limit = duration(min(_SECONDS_TO_SHAKE_HANDS, traffic.receive_timeout))
    return {"transport_socket": context, "transport_socket_connect_timeout": limit}


def _secret(at: Folder, name: str) -> Resource:
    return {"name": name, "sds_config": watched(at.xds / f"sds_{name}.json")}


def wrong(tls: Tls) -> str | None:
    """What is wrong with the files, in a sentence that begins with the field in `rollout.traffic.tls`."""
    for field in ("certificate", "key", "client_ca"):
        path = getattr(tls, field)
        if path and (why := _unreadable(Path(path))):
            return f"{field}: {why}"
    if stat.S_IMODE(Path(tls.key).stat().st_mode) & 0o007:
        return (
            f"key: everybody on this machine may read {tls.key}; keep it to its owner with: chmod 600 {tls.key}"
            " (in a Kubernetes secret's volume, with: defaultMode: 0440)"
        )
    return _unfit(tls)


def _unreadable(path: Path) -> str | None:
    try:
        if not path.is_file():
            return f"there is no file {path}"
        with path.open("rb") as file:
            if len(file.read(_MOST_BYTES + 1)) > _MOST_BYTES:
                return f"{path} is larger than 1 MiB; name a PEM file"
    except OSError as reason:
        return f"{path} cannot be read by {_me()}: {reason.strerror}"
    return None


def _unfit(tls: Tls) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except _Encrypted:
        return f"key: {tls.key} is encrypted, and nobody is there to type a password; store it without one"
    except ssl.SSLError as reason:
        if reason.reason == "KEY_VALUES_MISMATCH":
            return f"key: {tls.key} is not the key of {tls.certificate}; name the two files that were made together"
        why = (reason.reason or str(reason)).lower().replace("_", " ")
        return f"certificate: {tls.certificate} and {tls.key} are not a certificate and a key in PEM ({why})"
    if tls.client_ca:
        try:
            context.load_verify_locations(tls.client_ca)
        except ssl.SSLError:
            return f"client_ca: {tls.client_ca} holds no certificate in PEM"
    return None


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted


def _me() -> str:
    return f"user {os.getuid()}"

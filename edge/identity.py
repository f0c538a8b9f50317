"""Who this gateway is: its id, the key born here, whom it trusts, where its cloud is.

Owns the files `identity.json` and `gateway.key` in the data folder, readable by the agent's user only.
The private key never leaves the folder. Does not own documents (the directory keeps them), nor the TLS key.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import msgspec

from edge.errors import EdgeError
from edge.files import write_private
from edge.tlskey import keep_tls_key
from protocol.bundle import BUNDLE_BYTES_MAX, Access, Broker, BundleError, read_access, read_bundle
from protocol.codes import gateway_code_secret
from protocol.cose import SigningKey
from protocol.enrolment import build_enrolment

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_IDENTITY = "identity.json"
_KEY = "gateway.key"
_KEY_LENGTH = 32


class IdentityError(EdgeError):
    """The gateway has no usable identity, or may not take another one."""

    code = "identity"


class Identity(msgspec.Struct, frozen=True):
    """What the claim or the bundle brought. `enrolment_secret` is set until the cloud knows our key."""

    gateway: str
    root_public_key: bytes
    https_url: str
    mqtt: Broker | None
    enrolment_secret: bytes | None = None

    def enrolment(self, key: SigningKey, csr: bytes = b"") -> bytes:
        """The envelope that makes the cloud know our key, and for which TLS key we want a certificate.

        Once the cloud knows the key, its signature says enough.
        """
        return build_enrolment(self.gateway, self.enrolment_secret or b"", key, csr)


def load_identity(folder: Path) -> tuple[Identity, SigningKey] | None:
    """Read who we are; None for a gateway that was never claimed. Raises IdentityError if damaged."""
    try:
        data = (folder / _IDENTITY).read_bytes()
        seed = (folder / _KEY).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityError(
            f"{folder} cannot be read: {error.strerror}; run this as the agent's user", code="identity.unread"
        ) from error
    try:
        return msgspec.json.decode(data, type=Identity), SigningKey(seed)
    except (msgspec.MsgspecError, ValueError) as error:
        raise IdentityError(
            f"{folder / _IDENTITY} or {_KEY} is damaged ({error}); restore both from a backup, or remove "
            "both and claim anew: the journal beside them stays good",
            code="identity.damaged",
        ) from error


def claim_by_bundle(folder: Path, bundle_file: Path, random_bytes: Callable[[int], bytes]) -> Access:
    """Take a bundle's identity for a site that has never been online.

    Returns what it grants, documents included. Raises IdentityError, or BundleError if it is forged.
    """
    try:
        with bundle_file.open("rb") as stream:
            bundle = read_bundle(stream.read(BUNDLE_BYTES_MAX + 1))
    except OSError as error:
        raise IdentityError(
            f"{bundle_file} cannot be read: {error.strerror}", code="identity.bundle"
        ) from error
    _refuse_second(folder, bundle.access.gateway)
    _born(folder, random_bytes)
    keep_tls_key(folder, random_bytes)
    _keep(folder, _identity(bundle.access, bundle.secret))
    return bundle.access


def claim_by_code(
    folder: Path,
    cloud_url: str,
    code: str,
    random_bytes: Callable[[int], bytes],
    *,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 20.0,
) -> Access:
    """Claim over HTTPS with a one-time code. Safe to repeat: the key is kept between tries.

    Raises CodeError for a mistyped code, IdentityError if the cloud says no or cannot be reached.
    """
    gateway_code_secret(code)
    if not cloud_url:
        raise IdentityError(
            "where is the cloud? Give --cloud URL, or `https_url` under [cloud]", code="identity.no_cloud"
        )
    _refuse_second(folder, None)
    key = _born(folder, random_bytes)
    body = {
        "code": code,
        "public_key": base64.b64encode(key.public).decode(),
        "csr": base64.b64encode(keep_tls_key(folder, random_bytes).request()).decode(),
    }
    try:
        response = httpx.post(
            f"{cloud_url.rstrip('/')}/v1/gateways/claim", json=body, timeout=timeout_s, verify=tls or True
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise IdentityError(
            f"{cloud_url} cannot be reached ({error}); try again, or ask for a bundle file and use --bundle",
            code="identity.offline",
        ) from error
    if response.status_code != httpx.codes.OK:
        raise IdentityError(f"the cloud refused the claim: {_detail(response)}", code="identity.refused")
    access = read_access(response.content)
    _keep(folder, _identity(access, None))
    return access


def enrolled(folder: Path, identity: Identity) -> Identity:
    """The cloud has acknowledged something of ours: forget the one-time secret. Raises OSError."""
    known = msgspec.structs.replace(identity, enrolment_secret=None)
    write_private(folder / _IDENTITY, _encoded(known))
    return known


def _identity(access: Access, secret: bytes | None) -> Identity:
    return Identity(access.gateway, access.root_public_key, access.https_url, access.mqtt, secret)


def _refuse_second(folder: Path, gateway: str | None) -> None:
    known = load_identity(folder)
    if known is not None and known[0].gateway != gateway:
        raise IdentityError(
            f"this gateway is {known[0].gateway} already; to give it a new life, move {folder} aside first",
            code="identity.claimed",
        )


def _born(folder: Path, random_bytes: Callable[[int], bytes]) -> SigningKey:
    """The gateway's key: made here on the first try, kept ever after."""
    path = folder / _KEY
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not path.exists():
            write_private(path, random_bytes(_KEY_LENGTH))
        return SigningKey(path.read_bytes())
    except OSError as error:
        raise _unkept(folder, error) from error
    except ValueError as error:
        raise IdentityError(
            f"{path} is damaged ({error}); restore it, or remove it and claim anew", code="identity.damaged"
        ) from error


def _keep(folder: Path, identity: Identity) -> None:
    try:
        write_private(folder / _IDENTITY, _encoded(identity))
    except OSError as error:
        raise _unkept(folder, error) from error


def _encoded(identity: Identity) -> bytes:
    return msgspec.json.format(msgspec.json.encode(identity))


def _unkept(folder: Path, error: OSError) -> IdentityError:
    return IdentityError(
        f"{folder} cannot be written: {error.strerror}; check `data_dir`, its owner and the disk",
        code="identity.unkept",
    )


def _detail(response: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(response.content, type=dict[str, object])
    except msgspec.MsgspecError:
        return f"status {response.status_code}"
    return f"{problem.get('detail', response.status_code)} ({problem.get('code', 'no code')})"


__all__ = [
    "BundleError",
    "Identity",
    "IdentityError",
    "claim_by_bundle",
    "claim_by_code",
    "enrolled",
    "load_identity",
]

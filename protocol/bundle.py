"""Bundles and claim answers: what a gateway is given to begin its life, never a private key.

    bundle file  = JSON {"reloop_bundle": 1, "code": …, "access": {…}}
    claim answer = JSON {"gateway", "root_public_key", "https_url", "mqtt", "documents"}  (the same `access`)

Bytes are base64 in JSON. `documents` are signed bytes, `keys` first; only the root key is taken on trust.
Owns: the two shapes and the check that their documents verify. Does not own: files, nor the gateway's key.
"""

from __future__ import annotations

import msgspec

from protocol import VERSION
from protocol.cbor import decode
from protocol.codes import gateway_code_secret
from protocol.cose import PUBLIC_KEY_LENGTH, key_id_of, parse
from protocol.documents import DOCUMENT_BYTES_MAX, Document, KeysBody, KeyUse, Name, open_document
from protocol.errors import CodeError, ProtocolError
from protocol.topics import TopicError, check_gateway_id

BUNDLE_BYTES_MAX = 8 * 1024 * 1024
"""A bundle holds one copy of each document, base64 in JSON."""
DOCUMENTS_MAX = 16


class BundleError(ProtocolError):
    """A bundle or claim answer cannot be used; the message says what to ask the operator for."""

    code = "bundle.malformed"


class Broker(msgspec.Struct, frozen=True):
    """Where this gateway speaks MQTT, and by what it knows the broker.

    `root_certificate` (DER) is the only one trusted, `server_name` what the broker's certificate says,
    whatever the host. The gateway's own certificate comes in its `config` document.
    """

    host: str
    port: int
    server_name: str
    root_certificate: bytes


class Access(msgspec.Struct, frozen=True):
    """Everything a claimed gateway needs: who it is, whom it trusts, where the cloud is.

    `root_public_key` has 32 bytes; `mqtt` is None where no broker is offered: then HTTPS is the only road.
    """

    gateway: str
    root_public_key: bytes
    https_url: str
    mqtt: Broker | None
    documents: list[bytes]


class Bundle(msgspec.Struct, frozen=True):
    """A bundle file: access, and the one-time code under which the key born on the gateway is enrolled."""

    reloop_bundle: int
    code: str
    access: Access

    @property
    def secret(self) -> bytes:
        """The 32 bytes that sign an enrolment's proof."""
        return gateway_code_secret(self.code)


def write_bundle(code: str, access: Access) -> bytes:
    """The bundle file's bytes. Raises BundleError if what it would hold could not be read back."""
    data = msgspec.json.format(msgspec.json.encode(Bundle(VERSION, code, access)), indent=1) + b"\n"
    read_bundle(data)
    return data


def read_bundle(data: bytes) -> Bundle:
    """Read and check a bundle file, its documents' signatures included. Raises BundleError."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise BundleError(f"a bundle of {len(data)} bytes is over the limit", code="bundle.too_large")
    try:
        bundle = msgspec.json.decode(data, type=Bundle)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BundleError(f"this is not a bundle file ({error}); ask the operator for a new one") from error
    if bundle.reloop_bundle != VERSION:
        raise BundleError(f"bundle version {bundle.reloop_bundle} is not spoken here", code="bundle.version")
    try:
        gateway_code_secret(bundle.code)
    except CodeError as error:
        raise BundleError(f"the bundle's one-time code cannot be read: {error}") from error
    check_access(bundle.access)
    return bundle


def read_access(data: bytes) -> Access:
    """Read and check the JSON answer to a claim. Raises BundleError."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise BundleError(f"a claim answer of {len(data)} bytes is over the limit", code="bundle.too_large")
    try:
        access = msgspec.json.decode(data, type=Access)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BundleError(f"the answer to the claim cannot be read: {error}") from error
    check_access(access)
    return access


def check_access(access: Access) -> list[Document]:
    """Verify ids and documents; return the documents, `keys` first. Raises BundleError."""
    try:
        check_gateway_id(access.gateway)
    except TopicError as error:
        raise BundleError(str(error)) from error
    if len(access.root_public_key) != PUBLIC_KEY_LENGTH:
        raise BundleError(f"the root public key has {len(access.root_public_key)} bytes, not 32")
    if access.mqtt is not None and not 0 < access.mqtt.port < 65536:
        raise BundleError(f"MQTT port {access.mqtt.port} is out of range")
    if access.mqtt is not None and not (access.mqtt.server_name and access.mqtt.root_certificate):
        raise BundleError("it does not say by what the broker is known; ask the operator for a new one")
    try:
        return open_documents(access.documents, access.root_public_key)
    except BundleError:
        raise
    except ProtocolError as error:
        raise BundleError(f"a document in it does not verify: {error}", code="bundle.forged") from error


def open_documents(documents: list[bytes], root_public_key: bytes) -> list[Document]:
    """Verify documents of any order against the root: `keys` by the root, the others by its document keys.

    Returns them with `keys` first. Raises BundleError if there are too many or `keys` is missing,
    else whatever `open_document` raises.
    """
    named = {peek_name(data): data for data in documents[: DOCUMENTS_MAX + 1]}
    if len(named) > DOCUMENTS_MAX or len(named) != len(documents):
        raise BundleError(f"there are more than {DOCUMENTS_MAX} documents, or two of one name")
    if Name.KEYS not in named:
        raise BundleError("the `keys` document is missing, so nothing else can be trusted")
    roots = {key_id_of(root_public_key): root_public_key}
    keys = open_document(named.pop(Name.KEYS), Name.KEYS, roots.get)
    announced = {
        key_id_of(key.public_key): key.public_key
        for key in keys.body(KeysBody).keys
        if key.use is KeyUse.DOCUMENT
    }
    return [keys, *(open_document(data, name, announced.get) for name, data in named.items())]


def peek_name(data: bytes) -> str:
    """The name a signed document claims, not verified. Raises EnvelopeError or BundleError."""
    if len(data) > DOCUMENT_BYTES_MAX + 1024:
        raise BundleError("a document is over the limit", code="document.too_large")
    payload = parse(data).payload
    match decode(payload, "a document", BundleError):
        case [int(_), str(name), *_]:
            return name
        case _:
            raise BundleError("a document does not begin with its version and name")

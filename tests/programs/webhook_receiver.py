"""A buyer's endpoint: the protocol's own receiver for Python, over TLS on this machine.

Usage: webhook_receiver.py DIRECTORY JWKS [HMAC_SECRET]
Makes DIRECTORY/ca.pem, prints {"port": N}, and then one line for each delivery.
"""

import asyncio
import datetime
import http.server
import ipaddress
import json
import pathlib
import ssl
import sys

import deferred_models  # noqa: F401: before the protocol's package
from adcp.server.idempotency import MemoryBackend, WebhookDedupStore
from adcp.signing.jwks import StaticJwksResolver
from adcp.webhook_receiver import LegacyHmacFallback
from adcp.webhooks import WebhookReceiver, WebhookReceiverConfig, WebhookVerifyOptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

directory, jwks = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
secret = sys.argv[3].encode() if len(sys.argv) > 3 else None


def certificate():
    """A certificate of localhost, and the authority that signed it."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(name, key, issuer, issuer_key, extensions):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuer_key, hashes.SHA256())

    named = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = named("Test CA")
    ca = sign(ca_name, ca_key, ca_name, ca_key, [x509.BasicConstraints(ca=True, path_length=0)])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = sign(named("localhost"), key, ca_name, ca_key, [x509.SubjectAlternativeName(hosts)])
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(leaf.public_bytes(pem) + private)
    return directory / "server.pem"


receiver = WebhookReceiver(
    config=WebhookReceiverConfig(
        verify_options=WebhookVerifyOptions(jwks_resolver=StaticJwksResolver(jwks)),
        dedup=WebhookDedupStore(MemoryBackend(), ttl_seconds=86400),
        receiver_scope="buyer",
        publisher_scope_for=lambda _: "seller",
        legacy_hmac=secret and LegacyHmacFallback.from_shared_secret(secret=secret, sender_identity="seller"),
    )
)


async def take(method, url, headers, body):
    outcome = await receiver.receive(method=method, url=url, headers=headers, body=body)
    fresh = outcome.http_status is None
    if fresh:
        await receiver.acknowledge(outcome)
    return outcome, 200 if fresh else outcome.http_status, fresh


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        url = f"https://{self.headers['host']}{self.path}"
        outcome, status, fresh = asyncio.run(take("POST", url, dict(self.headers), body))
        told = {
            "status": status,
            "fresh": fresh,
            "rejected": outcome.rejection_reason,
            "sender": outcome.sender_identity,
            "body": body.decode(),
        }
        print(json.dumps(told), flush=True)
        self.send_response(status)
        for name, value in outcome.response_headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()

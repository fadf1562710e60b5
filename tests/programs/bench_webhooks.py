"""The Python peer of the webhooks' benchmark: the protocol's own SDK sends signed webhooks.

    bench_webhooks.py keys DIRECTORY
    bench_webhooks.py send DIRECTORY URL WEBHOOK

`keys` makes what both senders and the receiver need: signing-key.pem, server.pem and server-key.pem for localhost, ca.pem, and
roots.pem, which is ca.pem and what this machine trusts anyway.

`send` obeys the lines of its standard input, and answers each by one of JSON: `prepare N` makes N bodies of the template WEBHOOK,
`send AT_ONCE` sends them.
"""

import asyncio
import datetime
import ipaddress
import json
import os
import pathlib
import ssl
import sys
import time
import uuid


def make_keys(directory):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    now = datetime.datetime.now(datetime.timezone.utc)
    pem = serialization.Encoding.PEM

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def sign(name, key, issuer, issuer_key, extension):
        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(pem)

    def private(key):
        return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = sign("Bench CA", ca_key, "Bench CA", ca_key, x509.BasicConstraints(ca=True, path_length=0))
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = sign("localhost", server_key, "Bench CA", ca_key, x509.SubjectAlternativeName(hosts))
    system = ssl.get_default_verify_paths().cafile
    (directory / "ca.pem").write_bytes(ca)
    (directory / "roots.pem").write_bytes((pathlib.Path(system).read_bytes() if system else b"") + ca)
    (directory / "server.pem").write_bytes(server)
    (directory / "server-key.pem").write_bytes(private(server_key))
    (directory / "signing-key.pem").write_bytes(private(ed25519.Ed25519PrivateKey.generate()))


def prepared(url, template):
    from adcp.webhook_sender import PreparedWebhook

    key = f"whk_{uuid.uuid4()}"
    body = json.dumps({**template, "idempotency_key": key}).encode()
    return PreparedWebhook(url=url, idempotency_key=key, body=body, extra_headers={})


async def send(sender, webhooks, at_once):
    """Sends them all, `at_once` under way, and returns how many arrived."""
    arrived, queue = 0, iter(webhooks)

    async def worker():
        nonlocal arrived
        for webhook in queue:
            result = await sender.send_prepared(webhook)
            arrived += result.ok

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return arrived


async def obey(directory, url, template):
    from adcp.webhook_sender import WebhookSender

    # As a durable outbox has it: the sender owns its connections, and checks where they go.
    sender = WebhookSender.from_pem(directory / "signing-key.pem", key_id="bench", allow_private_destinations=True)
    webhooks = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, number = line.split()
        if command == "prepare":
            webhooks = [prepared(url, template) for _ in range(int(number))]
            answer = {"prepared": len(webhooks)}
        else:
            begun = time.perf_counter()
            arrived = await send(sender, webhooks, int(number))
            answer = {"arrived": arrived, "seconds": time.perf_counter() - begun}
        print(json.dumps(answer), flush=True)


def main(command, directory, *arguments):
    directory = pathlib.Path(directory)
    if command == "keys":
        make_keys(directory)
    else:
        os.environ["SSL_CERT_FILE"] = str(directory / "roots.pem")
        url, template = arguments
        asyncio.run(obey(directory, url, json.loads(pathlib.Path(template).read_text())))


if __name__ == "__main__":
    if sys.argv[1:2] not in (["keys"], ["send"]) or len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])

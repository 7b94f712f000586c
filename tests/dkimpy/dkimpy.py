"""DKIM by another implementation.

usage: dkimpy.py verify ZONE < MESSAGE
       dkimpy.py sign DOMAIN ALGORITHM CANONICALIZATION [KEY_BITS] < MESSAGE

`verify` prints a JSON list with one object per signature, from the top: domain, selector,
algorithm, the signed fields, and whether it is valid. Keys are looked up in a zone file of lines
`NAME TTL TXT "string" "string"`.

`sign` makes a key and prints a JSON object: name and value of the DNS record, and the value of the
header field. ALGORITHM is rsa-sha256 or ed25519-sha256, CANONICALIZATION e.g. relaxed/simple.
"""

import base64
import json
import re
import subprocess
import sys

import dkim

SELECTOR = "dkimpy"


def main():
    command, *arguments = sys.argv[1:]
    message = sys.stdin.buffer.read()
    commands = {"verify": verify, "sign": sign}
    print(json.dumps(commands[command](message, *arguments)))


def verify(message, zone):
    records = read_zone(zone)

    def look_up(name, timeout=5):
        return records.get(name.decode().rstrip(".").lower())

    results = []
    verifier = dkim.DKIM(message)
    count = sum(name.lower() == b"dkim-signature" for name, _ in verifier.headers)
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            valid = verifier.verify(idx=index, dnsfunc=look_up)
        except dkim.DKIMException as error:
            print(error, file=sys.stderr)
            valid = False
        tags = {name.decode(): value.decode() for name, value in verifier.signature_fields.items()}
        results.append(
            {
                "domain": tags["d"],
                "selector": tags["s"],
                "algorithm": tags["a"],
                "canonicalization": tags.get("c", "simple/simple"),
                "fields": re.sub(r"\s", "", tags["h"]).lower().split(":"),
                "valid": valid,
            }
        )
    return results


def read_zone(path):
    records = {}
    with open(path, encoding="utf-8") as zone:
        for line in zone:
            words = line.split(maxsplit=3)
            if len(words) == 4 and words[2] == "TXT":
                strings = re.findall(r'"([^"]*)"', words[3])
                records[words[0].rstrip(".").lower()] = "".join(strings).encode()
    return records


def sign(message, domain, algorithm, canonicalization, bits="2048"):
    if algorithm == "ed25519-sha256":
        import nacl.signing

        key = nacl.signing.SigningKey.generate()
        private = base64.b64encode(bytes(key))
        public = base64.b64encode(bytes(key.verify_key)).decode()
        record = f"v=DKIM1; k=ed25519; p={public}"
    else:
        private = openssl("genrsa", "-traditional", bits)
        public = openssl("rsa", "-pubout", "-outform", "DER", input=private)
        record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
    field = dkim.sign(
        message,
        SELECTOR.encode(),
        domain.encode(),
        private,
        canonicalize=tuple(canonicalization.encode().split(b"/")),
        signature_algorithm=algorithm.encode(),
    )
    name, value = field.decode().split(":", 1)
    assert name == "DKIM-Signature"
    return {
        "name": f"{SELECTOR}._domainkey.{domain}",
        "record": record,
        "signature": value.strip(),
    }


def openssl(*arguments, input=None):
    return subprocess.run(
        ["openssl", *arguments], input=input, check=True, capture_output=True
    ).stdout


if __name__ == "__main__":
    main()

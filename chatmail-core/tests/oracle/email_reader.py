"""What Python's email package makes of messages that passed the check.

Standard input: one JSON object per line: direction, class, author, message (base64).
Standard output: one line per message, empty if nothing in it is readable, else what is.
"""

import base64
import email
import email.errors
import email.policy
import json
import re
import sys

PREAMBLE = re.compile(
    r"(This is an OpenPGP/MIME encrypted message \((RFC 4880 and |RFC 2440 and |RFC )3156\)"
    r"|This message is in MIME format and has been PGP encrypted"
    r"|This is a multi-part message in MIME format)(\.|\.\.\.)?"
)
ARMOR = re.compile(
    rb"-----BEGIN PGP MESSAGE-----[ \t]*\n"
    rb"(?P<header>([A-Za-z0-9][A-Za-z0-9-]{0,31}:( [^\n]*)?\n)*)"
    rb"[ \t]*\n"
    rb"([A-Za-z0-9+/]+[ \t]*\n)*([A-Za-z0-9+/]*={0,2}[ \t]*\n)?"
    rb"(=[A-Za-z0-9+/]{4}[ \t]*\n)?"
    rb"-----END PGP MESSAGE-----"
)
REQUEST = re.compile(rb"secure-join: v[cg]-request", re.IGNORECASE)
DESCRIPTION = re.compile(
    r"(Open)?PGP(/MIME)? (versions? identifi(cation|er)|(encrypted )?message(\.asc)?|encrypted data)", re.IGNORECASE
)
NAME = re.compile(r"[A-Za-z0-9._-]{0,40}|PGPMIME versions? identification", re.IGNORECASE)
IDENTIFIER = re.compile(r"<?[A-Za-z0-9@._$+=-]{1,100}>?")


def objection(asked, message, modern):
    """The first thing that should not be there, or None."""
    for field in ("From", "Content-Type"):
        if len(message.get_all(field, [])) != 1:
            return f"not one {field}"
    if modern:
        # Dots at the ends of a localpart are a defect to it, but it reads them.
        author = message["From"]
        addresses = [f"{a.username}@{a.domain}" for a in author.addresses]
        if addresses != [asked["author"]] or author.groups[0].display_name is not None:
            return f"From is {author!s}"
    # A multipart with `7bit ` and a space behind it is one, and changes nothing.
    ignored = email.errors.InvalidMultipartContentTransferEncodingDefect
    if any(not isinstance(defect, ignored) for defect in message.defects):
        return f"defects {message.defects}"
    if not message.is_multipart():
        return f"no multipart but {message.get_content_type()}"
    parts = message.get_payload()
    if any(part.is_multipart() for part in parts):
        return "a part in a part"
    sentence = (message.preamble or "").strip()
    if sentence and not (asked["direction"] == "incoming" and PREAMBLE.fullmatch(sentence)):
        return f"preamble {sentence!r}"
    if (message.epilogue or "").strip():
        return f"epilogue {message.epilogue!r}"
    for part in parts:
        if part.defects:
            return f"defects {part.defects}"
        name = part.get_filename()
        if name is not None and not NAME.fullmatch(name):
            return f"file name {name!r}"
        description = part.get("Content-Description", "").strip()
        if description and not DESCRIPTION.fullmatch(description):
            return f"description {description!r}"
        for field in part.keys():
            known = ("content-type", "content-description", "content-disposition",
                     "content-transfer-encoding", "mime-version")
            identifiers = ("content-id", "x-attachment-id", "x-att-id")
            if field.lower() in identifiers and asked["direction"] == "incoming":
                if not IDENTIFIER.fullmatch(part[field].strip()):
                    return f"{field} {part[field]!r}"
            elif field.lower() not in known:
                return f"field {field}"
        if part["Content-Transfer-Encoding"] and asked["direction"] == "outgoing":
            if part["Content-Transfer-Encoding"].strip().lower() == "base64":
                return "base64"
    contents = [part.get_payload(decode=True).replace(b"\r\n", b"\n").strip() for part in parts]
    # Errors in base64 are found when it is decoded.
    if any(part.defects for part in parts):
        return f"defects {[part.defects for part in parts]}"
    types = [part.get_content_type() for part in parts]
    if asked["class"] == "secure-join-request":
        sound = types == ["text/plain"] and REQUEST.fullmatch(contents[0])
        return None if sound else f"{types} {contents}"
    if types != ["application/pgp-encrypted", "application/octet-stream"]:
        return f"parts {types}"
    if contents[0] != b"Version: 1":
        return f"version {contents[0]!r}"
    armor = ARMOR.fullmatch(contents[1])
    if not armor:
        return f"armor {contents[1][:2000]!r}"
    if armor["header"] and asked["direction"] == "outgoing" or len(armor["header"]) > 600:
        return f"armor header {armor['header']!r}"
    return None


for line in sys.stdin:
    asked = json.loads(line)
    data = base64.b64decode(asked["message"])
    found = None
    for policy in (email.policy.default, email.policy.compat32):
        read = email.message_from_bytes(data, policy=policy)
        found = found or objection(asked, read, policy is email.policy.default)
    print("" if found is None else found.replace("\n", " "), flush=False)

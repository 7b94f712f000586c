"""A Delta Chat profile that does what it is told, one JSON object a line.

usage: friend.py ACCOUNTS_DIR LOGIN_LINK

Onboards a profile, says {"ready": true} and then takes these orders, each answered with one line:

{"do": "join", "link": LINK}                  joins a contact by an invite link
{"do": "send", "text": TEXT, "file": PATH}    sends a message; either may be left out
{"do": "wait", "text": TEXT, "file": NAME}    waits for a message with that text, or a file of that name
{"do": "received"}                            all that the contact wrote: text, name and content (hex) of the file
{"do": "offline"}, {"do": "online"}           stops and starts to get and send mail
{"do": "group", "text": TEXT}                 sends a text to a new group of the contact and this profile

Ends with its input.
"""

import json
import os
import sys
import threading
from pathlib import Path

from deltachat_rpc_client import DeltaChat, Rpc

DEADLINE = 150


class Friend:
    def __init__(self, deltachat, link):
        self.profile = deltachat.add_account()
        self.profile.set_config("displayname", "Friend")
        self.profile.add_transport_from_qr(link)
        self.profile.bring_online()
        self.chat = None

    def join(self, link):
        self.chat = self.profile.secure_join(link)
        self.profile.wait_for_securejoin_joiner_success()

    def send(self, text=None, file=None):
        self.chat.send_message(text=text, file=file)

    def wait(self, text=None, file=None):
        while True:
            for message in self.received():
                if (text and message["text"] == text) or (file and message["file"] == file):
                    return message
            # A file that comes later than its text is no incoming message again.
            self.profile.wait_for_event()

    def received(self):
        found = []
        for message in self.chat.get_messages():
            message = message.get_snapshot()
            if message.from_id == 1 or message.is_info:
                continue
            if message.download_state != "Done":
                continue
            content = Path(message.file).read_bytes().hex() if message.file else None
            found.append(
                {
                    "text": message.text,
                    "file": message.file_name,
                    "content": content,
                    "padlock": message.show_padlock,
                    "bot": message.is_bot,
                }
            )
        return found

    def offline(self):
        self.profile.stop_io()

    def online(self):
        self.profile.start_io()

    def group(self, text):
        [contact] = self.profile.get_contacts()
        group = self.profile.create_group("Two of us")
        group.add_contact(contact)
        group.send_text(text)


def main():
    accounts_dir, link = sys.argv[1:]
    server = str(Path(sys.executable).parent / "deltachat-rpc-server")
    watchdog = threading.Timer(DEADLINE, lambda: os._exit(1))
    watchdog.daemon = True
    watchdog.start()
    with Rpc(accounts_dir=accounts_dir, rpc_server_path=server, stderr=sys.stderr) as rpc:
        friend = Friend(DeltaChat(rpc), link)
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            answer = getattr(friend, order.pop("do"))(**order)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

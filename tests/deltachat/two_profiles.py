"""Two Delta Chat profiles meet on a relay and talk.

usage: two_profiles.py ACCOUNTS_DIR LOGIN_LINK LOGIN_LINK

Onboards one profile for each dclogin: link, joins them by an invite link, sends messages both ways
and checks that each side shows the padlock. Prints one JSON object with the times in seconds.
Exits with 1 and a reason if anything is not as a user expects it.
"""

import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

from deltachat_rpc_client import DeltaChat, Rpc

MESSAGES = 10
DEADLINE = 150
# A client sends three messages at once, then one a second; more would wait in the client.
BURST = 3
PACE = 1.1


def main():
    accounts_dir, *links = sys.argv[1:]
    if len(links) != 2:
        sys.exit(__doc__)
    stage = Stage()
    server = str(Path(sys.executable).parent / "deltachat-rpc-server")
    with Rpc(accounts_dir=accounts_dir, rpc_server_path=server, stderr=sys.stderr) as rpc:
        deltachat = DeltaChat(rpc)

        stage.begin("onboarding")
        alice, bob = (onboard(deltachat, name, link) for name, link in zip(("Alice", "Bob"), links))
        onboarding = stage.elapsed() / 2
        for profile in (alice, bob):
            profile.bring_online()

        stage.begin("joining by the invite link")
        alice_chat = alice.secure_join(bob.get_qr_code())
        bob.wait_for_securejoin_inviter_success()
        alice.wait_for_securejoin_joiner_success()
        joining = stage.elapsed()

        [alice_contact] = bob.get_contacts()
        bob_chat = alice_contact.create_chat()
        times = []
        time.sleep(BURST * PACE)
        for number in range(MESSAGES):
            begin = time.monotonic()
            for chat, receiver in ((alice_chat, bob), (bob_chat, alice)):
                stage.begin(f"message {number} to {receiver.get_config('displayname')}")
                exchange(chat, receiver, f"Lunch at {number}?")
                times.append(stage.elapsed())
            time.sleep(max(0, begin + PACE - time.monotonic()))

    print(
        json.dumps(
            {
                "onboarding": onboarding,
                "joining": joining,
                "one_way_median": statistics.median(times),
                "one_way_max": max(times),
                "one_way": times,
                "messages": len(times),
            }
        )
    )


def onboard(deltachat, name, link):
    profile = deltachat.add_account()
    profile.set_config("displayname", name)
    profile.add_transport_from_qr(link)
    return profile


def exchange(chat, receiver, text):
    """Sends a text and waits until the other side shows it, encrypted."""
    sent = chat.send_text(text)
    while True:
        received = receiver.wait_for_incoming_msg().get_snapshot()
        if received.text == text:
            break
    if not received.show_padlock:
        raise SystemExit(f"{text!r} arrived without a padlock")
    if not sent.get_snapshot().show_padlock:
        raise SystemExit(f"{text!r} was sent without a padlock")


class Stage:
    """What is going on, for the watchdog: an event that never comes has no other end."""

    def __init__(self):
        self.name = "starting"
        self.start = time.monotonic()
        watchdog = threading.Timer(DEADLINE, self.give_up)
        watchdog.daemon = True
        watchdog.start()

    def begin(self, name):
        self.name = name
        self.start = time.monotonic()

    def elapsed(self):
        return time.monotonic() - self.start

    def give_up(self):
        print(f"no end to {self.name!r} after {self.elapsed():.1f} s", file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    main()

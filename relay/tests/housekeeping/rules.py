"""The rules of `chatmail expire` and `chatmail usage`, written down a second time and as plainly as can be.

    rules.py expire MAILBOXES_DIR DOMAIN MAILS LARGE USERS [--remove]
    rules.py usage MAILBOXES_DIR DOMAIN

MAILS, LARGE and USERS are numbers of days. Prints what the commands print with --json, as far as it follows
from the rules. Tests compare both; the benchmark runs both side by side.
"""

import json
import os
import re
import shutil
import stat
import sys
import time

DAY = 24 * 60 * 60
NOW = time.time()
TIME = re.compile(r"(\d{1,15})\.(?:M(\d{1,6})(?!\d))?")
SIZE = re.compile(r",S=(\d{1,15})(?=[,:]|$)")


def directories(base, domain):
    """Name and path of all that may be mailboxes."""
    for name in os.listdir(base):
        path = os.path.join(base, name)
        if name.endswith("@" + domain) and os.path.isdir(path):
            yield name, path


def last_login(mailbox):
    try:
        seconds = int(os.stat(os.path.join(mailbox, "password")).st_mtime)
    except FileNotFoundError:
        return None
    return seconds - seconds % DAY


def folders(mailbox):
    yield mailbox
    for name in os.listdir(mailbox):
        path = os.path.join(mailbox, name)
        if name.startswith(".") and os.path.isdir(path) and not os.path.islink(path):
            yield path


def regular(path):
    """What a look at the file tells, unless it is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def messages(folder):
    """Path, whether it is in cur, time and size of each message."""
    for part in ("cur", "new", "tmp"):
        directory = os.path.join(folder, part)
        if os.path.islink(directory) or not os.path.isdir(directory):
            continue
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                base = entry.name.split(":")[0]
                told = TIME.match(base)
                stored = told and int(told[1]) + int(told[2] or 0) / 1e6
                told = base.find(",S=") >= 0 and SIZE.match(base, base.find(",S="))
                size = int(told[1]) if told else None
                if not stored or not 1e9 <= stored <= NOW:
                    stored = int(entry.stat(follow_symlinks=False).st_mtime)
                if size is None or size > 1 << 40:
                    size = entry.stat(follow_symlinks=False).st_size
                yield entry.path, part == "cur", stored, size


def expire(base, domain, mails, large, users, remove):
    seen = no_account = 0
    removed = dict.fromkeys(
        ("mailboxes", "empty_directories", "messages", "large_messages", "bytes"), 0
    )
    for _, mailbox in directories(base, domain):
        seen += 1
        login = last_login(mailbox)
        if login is None:
            if os.path.islink(mailbox) or os.listdir(mailbox):
                no_account += 1
                continue
            removed["empty_directories"] += 1
            if remove:
                os.rmdir(mailbox)
        elif login < NOW - users * DAY:
            removed["mailboxes"] += 1
            for folder in folders(mailbox):
                removed["bytes"] += sum(size for _, _, _, size in messages(folder))
            if remove:
                shutil.rmtree(os.path.realpath(mailbox))
                if os.path.islink(mailbox):
                    os.unlink(mailbox)
        else:
            changed = False
            for folder in folders(mailbox):
                for path, in_cur, stored, size in list(messages(folder)):
                    if stored < NOW - mails * DAY:
                        removed["messages"] += 1
                    elif in_cur and size > 200_000 and stored < NOW - large * DAY:
                        removed["large_messages"] += 1
                    else:
                        continue
                    removed["bytes"] += size
                    changed = True
                    if remove:
                        os.unlink(path)
            size_file = os.path.join(mailbox, "maildirsize")
            if remove and changed and os.path.lexists(size_file):
                os.unlink(size_file)
    return {"mailboxes": seen, "removed": removed, "no_account": no_account}


def usage(base, domain):
    accounts = dict.fromkeys(("all", "ci", "user"), 0)
    active = dict.fromkeys((1, 10, 30, 40, 80, 100, 150), 0)
    all_messages, others = [], []
    for name, mailbox in directories(base, domain):
        login = last_login(mailbox)
        if login is not None:
            ci = name.startswith(("ci-", "ac_"))
            accounts["all"] += 1
            accounts["ci" if ci else "user"] += 1
            for days in active:
                active[days] += not ci and login >= NOW - days * DAY
        for folder in folders(mailbox):
            all_messages += [(stored, size) for _, _, stored, size in messages(folder)]
            for file in os.listdir(folder):
                found = regular(os.path.join(folder, file))
                others += [found.st_size] if found else []

    def amount(sizes):
        sizes = list(sizes)
        return {"count": len(sizes), "bytes": sum(sizes)}

    kib = 1024
    mib = 1024 * kib
    return {
        "accounts": accounts,
        "active": [{"days": days, "accounts": count} for days, count in active.items()],
        "storage": {
            "messages": amount(size for _, size in all_messages),
            "extra": amount(others),
            "total": amount([size for _, size in all_messages] + others),
        },
        "sizes": [
            {"min_size": least, **amount(size for _, size in all_messages if size >= least)}
            for least in (0, 100 * kib, 512 * kib, mib, 2 * mib, 5 * mib, 10 * mib)
        ],
        "ages": [
            {"min_days": days, **amount(size for stored, size in all_messages if stored <= NOW - days * DAY)}
            for days in (1, 3, 7, 14, 20, 30)
        ],
    }


def main():
    command, base, domain, *rest = sys.argv[1:]
    if command == "expire":
        days = [int(word) for word in rest[:3]]
        result = expire(base, domain, *days, "--remove" in rest)
    else:
        result = usage(base, domain)
    print(json.dumps(result))


main()

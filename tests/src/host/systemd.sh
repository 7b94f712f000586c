# Starts the relay of `relay.sh` with the units that are shipped: sh systemd.sh REPOSITORY
set -eu
install -m 0644 "$1"/packaging/systemd/* /etc/systemd/system/
systemctl daemon-reload
systemctl --quiet enable --now chatmail-milter-outgoing.socket chatmail-milter-incoming.socket \
    chatmail-milter-internal.socket chatmail-serve-http.socket chatmail-serve.service 2>&1
# Debian's may have been told not to start at boot.
systemctl start dovecot.service postfix.service

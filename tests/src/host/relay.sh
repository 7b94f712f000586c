# Installs a relay on a stock Debian host, as its operator would; `systemd.sh` or `openrc.sh` starts it.
#
#   sh relay.sh PROGRAMS AUTH MAIL SETTINGS PUSH_URL
#
# PROGRAMS is the directory with `chatmail` and `chatmail-milter`; AUTH, MAIL and SETTINGS are the Dovecot modules, the
# last one empty for 2.3.
set -eu
programs=$1 auth=$2 mail=$3 settings=$4 push_url=$5
# By its underscore clients accept any certificate, and no authority has to be asked for one.
domain=_chat.test
mailboxes=/home/vmail/mail/$domain

install -m 0755 "$programs/chatmail" "$programs/chatmail-milter" /usr/bin/
modules=$(. /usr/lib/dovecot/dovecot-config && echo "$dovecot_moduledir")
install -D -m 0644 -t "$modules/auth" "$auth"
install -D -m 0644 -t "$modules" "$mail"
if [ -n "$settings" ]; then
    install -D -m 0644 -t "$modules/settings" "$settings"
fi

getent passwd vmail >/dev/null ||
    useradd --system --user-group --home-dir /home/vmail --shell /usr/sbin/nologin vmail
install -d -o vmail -g vmail -m 0755 /home/vmail /home/vmail/mail "$mailboxes"

echo "127.0.0.1 $domain" >>/etc/hosts
# Signed, so that clients of the tests can tell whether it is the right one.
tls=/etc/ssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj "/CN=authority" \
    -addext keyUsage=critical,keyCertSign -keyout "$tls/private/ca.key" -out "$tls/certs/ca.pem" 2>/dev/null
openssl req -x509 -CA "$tls/certs/ca.pem" -CAkey "$tls/private/ca.key" \
    -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj "/CN=$domain" -addext "subjectAltName=DNS:$domain" \
    -addext basicConstraints=critical,CA:FALSE -keyout "$tls/private/mailserver.key" \
    -out "$tls/certs/mailserver.pem" 2>/dev/null
mkdir -p /etc/dkimkeys
openssl genrsa -out /etc/dkimkeys/opendkim.private 2048 2>/dev/null
chown vmail /etc/dkimkeys/opendkim.private
chmod 0600 /etc/dkimkeys/opendkim.private

# The host is as busy as the tests beside it make it.
cat >/etc/chatmail.ini <<INI
[params]
mail_domain = $domain
push_url = $push_url
max_load_1m = 10000
min_available_memory = 1M
min_free_disk_space = 1M
max_user_send_per_minute = 600
max_user_send_burst_size = 100
INI
rendered=$(mktemp -d)
chatmail render --config /etc/chatmail.ini --out "$rendered" >/dev/null
cp "$rendered"/dovecot/* /etc/dovecot/
cp "$rendered"/postfix/* /etc/postfix/
# It makes directories that Dovecot puts sockets in, and that are missing where Postfix has never run.
postfix check

# Starts the relay of `relay.sh` with the scripts that are shipped for OpenRC: sh openrc.sh REPOSITORY
set -eu
install -m 0755 "$1"/packaging/openrc/* /etc/init.d/
# What they need, and what other systems have: here it is there without anybody's help.
for name in localmount net; do
    printf '#!/sbin/openrc-run\nstart() { :; }\nstop() { :; }\n' >/etc/init.d/$name
    chmod 0755 /etc/init.d/$name
done
# As the scripts say.
usermod --append --groups postfix,www-data vmail
echo web_group=www-data >/etc/conf.d/chatmail-serve
useradd --system --user-group --no-create-home --shell /usr/sbin/nologin chatmail-echobot

rc-service --quiet chatmail-milter start
rc-service --quiet chatmail-serve start
# Debian's own scripts are not for OpenRC.
dovecot
postfix start 2>&1

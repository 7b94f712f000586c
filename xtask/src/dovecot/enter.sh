# Runs a command inside a Debian tree: `sh -c THIS enter TREE PATH… -- COMMAND…`, in a mount namespace of its own.
# Each PATH, a directory or a file, is the same inside and outside. All mounts end with the last process in here.
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
tree=$1
shift
# So that it is a mount point like any root directory, and namespaces can be made in it in turn.
mount --bind "$tree" "$tree"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$tree$1"
    elif [ ! -e "$tree$1" ]; then
        mkdir -p "$(dirname "$tree$1")"
        : > "$tree$1"
    fi
    mount --rbind "$1" "$tree$1"
    shift
done
shift
# Last, so that a PATH that holds the tree itself brings none of these along.
for directory in /proc /dev; do
    mount --rbind "$directory" "$tree$directory"
done
exec chroot "$tree" "$@"

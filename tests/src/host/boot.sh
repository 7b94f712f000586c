# Boots a Debian system beside whatever runs here: processes, mounts, network (loopback alone), host name and control
# groups are its own. Its disk is this system's, or a tree's, with a layer in memory on top: nothing that it writes
# outlives it.
#
#   sh boot.sh prepare DIR ROOT INIT [SAME...]
#
# DIR has the empty directories `cgroup`, `disk` and `root`; its last component names the control group. ROOT is the root
# directory to start from. INIT is the first process: `systemd`, which starts nothing that is not needed to be asked for
# more, or `openrc-init`. SAME are directories that it finds where they are here, to read only.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
stage=$1 dir=$2 root=$3 init=$4

case $stage in
prepare)
    # systemd takes the control group that it starts in for the root of all: one of its own.
    mount -t cgroup2 cgroup2 "$dir/cgroup"
    group=$dir/cgroup/$(basename "$dir")
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
    umount "$dir/cgroup"
    shift
    exec unshare --cgroup --ipc --mount --net --pid --uts --fork --kill-child -- sh "$0" boot "$@"
    ;;
boot)
    shift 4
    mount -t tmpfs -o mode=755 tmpfs "$dir/disk"
    mkdir "$dir/disk/upper" "$dir/disk/work"
    mount -t overlay -o "lowerdir=$root,upperdir=$dir/disk/upper,workdir=$dir/disk/work" overlay "$dir/root"
    cd "$dir/root"
    mount -t proc proc proc
    # Most of these are the whole machine's.
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs sysfs sys
    # Loopback is up: IFF_UP | IFF_LOOPBACK.
    echo 0x9 >sys/class/net/lo/flags
    mount -o remount,ro sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        : >"dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    ln -s /dev/null dev/console
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    for same; do
        mkdir -p ".$same"
        mount --bind "$same" ".$same"
        mount -o remount,bind,ro ".$same"
    done
    hostname chat
    mkdir run/outside
    pivot_root . run/outside
    cd /
    umount -l /run/outside
    rmdir /run/outside
    # As systemd would make it itself outside of a container: credentials come to services by this.
    mount --make-rshared /
    case $init in
    systemd)
        # Nothing here is to happen because it is a certain time of the day.
        ln -sf /dev/null /etc/systemd/system/timers.target
        set -- /lib/systemd/systemd --unit=basic.target --log-target=journal --show-status=0
        ;;
    openrc-init)
        # Packages have entered what they would start.
        rm -f /etc/runlevels/*/*
        set -- /sbin/openrc-init
        ;;
    esac
    # The kernel's modules and the clock are the whole machine's, too.
    exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio -- \
        env -i container=other RC_SYS=LXC PATH="$PATH" "$@"
    ;;
esac

//! Sign-ups that fail at each step because the disk is full.

use std::process::{Command, Stdio};

use super::Tree;

const BOB: &str = "bob@chat.test";

/// Makes an account on a file system of its own, shows what there is, makes room, and makes it again.
const SCRIPT: &str = r#"
mail=$1 options=$2 fill=$3
shift 3
mount -t tmpfs -o "uid=65534,gid=65534,mode=700,$options" tmpfs "$mail" || exit 99
[ "$fill" = 0 ] || head -c "$fill" /dev/zero >"$mail/fill"
"$@" 2>&1
echo "code $?: $(ls -A "$mail")"
rm -f "$mail/fill"
mount -o remount,size=1m,nr_inodes=100 "$mail" || exit 98
"$@" 2>&1
echo "again $?"
"#;

#[test]
fn a_sign_up_that_finds_no_room_leaves_nothing_and_succeeds_later() {
    // The directory, the mark, the password; and room for its name, but not for what is in it.
    for (options, fill) in [
        ("size=1m,nr_inodes=1", 0),
        ("size=1m,nr_inodes=2", 0),
        ("size=1m,nr_inodes=3", 0),
        ("size=4k,nr_inodes=100", 4096),
    ] {
        let Some(tree) = Tree::new() else { return };
        let create = tree.command(&["user", "create", BOB, "--generate"]);
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                SCRIPT,
                "sh",
            ])
            .arg(tree.mail())
            .args([options, &fill.to_string()])
            .arg(create.get_program())
            .args(create.get_args())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output
            .status
            .code()
            .is_none_or(|code| code == 1 || code == 99)
        {
            eprintln!("left out: nothing can be mounted here: {output:?}");
            return;
        }
        let left = if fill == 0 { "" } else { "fill" };
        assert!(
            said.contains(&format!("code 74: {left}\n")),
            "{options}: {said}"
        );
        assert!(said.contains("again 0\n"), "{options}: {said}");
    }
}

use super::*;

const AUTHOR: &[u8] = b"alice@chat.test";
const DELTA_CHAT: &str = include_str!("delta-chat.txt");

#[test]
fn a_key_is_its_authors() {
    let value = DELTA_CHAT.trim_end().as_bytes();
    assert!(is_key(value, AUTHOR));
    assert!(is_key(value, b"Alice@Chat.Test"));
    assert!(!is_key(value, b"bob@chat.test"));
    assert!(!is_key(value, b""));
}

#[test]
fn base64_is_decoded_in_lines_and_to_its_last_bit() {
    let decoded = |text: &str| decode(text.as_bytes());
    for (text, bytes) in [
        ("", &b""[..]),
        ("QXR0YWNr", b"Attack"),
        ("QXR0YWN=", b""),
        ("QXR0YWM=", b"Attac"),
        ("QXR0YQ==", b"Atta"),
        ("QXR0YR==", b""),
        ("QXR0YQ=", b""),
        ("QXR0YQ", b""),
        ("QXR0Y===", b""),
        ("QXR0YWNr====", b""),
        ("QX=R0YWNr", b""),
        ("QXR0YQ==QXR0", b""),
        ("QXR0\n YWNr", b"Attack"),
        ("QXR0YQ=\n =", b"Atta"),
        ("QXR0YQ\n ==", b"Atta"),
        ("QXR0YQ=\n =QXR0", b""),
        ("QXR0YQ==\n AAAA", b""),
        ("QXR0 YWNr", b""),
        ("QXR0\n YWNr\n QXR0", b""),
        ("QXR0-WNr", b""),
    ] {
        let wrong = bytes.is_empty() && !text.is_empty();
        let expected = (!wrong).then(|| bytes.to_vec());
        assert_eq!(decoded(text), expected, "{text:?}");
    }
    let line = "QXR0YWNr".repeat(4);
    assert!(decoded(&format!("QXR0\n {line}\n {line}\n YWNr")).is_some());
    assert!(decoded(&format!("QXR0\n {}\n YWNr", &line[4..])).is_none());
    let indented = |count: usize| decoded(&format!("QXR0\n{}YWNr", " ".repeat(count)));
    assert!(indented(limits::SPACE_RUN).is_some());
    assert!(indented(limits::SPACE_RUN + 1).is_none());
    let long = "QUFB".repeat(limits::KEY_BYTES / 3 + 2);
    assert!(decoded(&long).is_none());
}

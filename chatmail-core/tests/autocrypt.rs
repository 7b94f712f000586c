//! The Autocrypt header of outgoing mail: keys stay, whatever program writes them, and nothing that
//! only looks like one does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{
    Deserializable, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedKeyDetails,
    SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{
    Features, KeyFlags, Notation, PacketTrait, SignatureConfig, SignatureType, Subpacket,
    SubpacketData, UserAttribute, UserId,
};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, KeyVersion, PacketHeaderVersion, Password, Tag, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;
use rand::rngs::OsRng;

mod oracle;

use oracle::{SENDER, keeps_key};

/// An Autocrypt header as Delta Chat writes it.
const DELTA_CHAT: &str = include_str!("../src/filter/form/key/delta-chat.txt");

/// How a program lays the key out.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// Delta Chat: the key begins on the line of its name.
    DeltaChat,
    /// Delta Chat with older versions of its mail builder: two characters of white space at a fold.
    TwoSpaces,
    /// Others: the key has lines of its own, of this many characters.
    OwnLines(usize),
}

/// The value of an Autocrypt header.
fn autocrypt(attributes: &str, packets: &[u8], layout: Layout) -> String {
    let key = STANDARD.encode(packets);
    let lines = |text: &str, size: usize, fold: &str| {
        let lines: Vec<_> = text.as_bytes().chunks(size).collect();
        let lines: Vec<_> = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line))
            .collect();
        lines.join(fold)
    };
    let (fold, size) = match layout {
        Layout::DeltaChat => ("\n ", 78),
        Layout::TwoSpaces => ("\n\t ", 78),
        Layout::OwnLines(size) => {
            return format!("{attributes} keydata=\n {}", lines(&key, size, "\n "));
        }
    };
    let (first, rest) = key.split_at(key.len().min(70));
    let rest = lines(rest, size, fold);
    format!("{attributes}{fold}keydata={first}{fold}{rest}")
}

/// With the attributes that Delta Chat writes.
fn mutual(packets: &[u8]) -> String {
    let attributes = format!("addr={SENDER}; prefer-encrypt=mutual;");
    autocrypt(&attributes, packets, Layout::DeltaChat)
}

fn keeps(packets: &[u8]) -> bool {
    keeps_key(mutual(packets).as_bytes())
}

fn bytes(key: &SignedPublicKey) -> Vec<u8> {
    key.to_bytes().expect("packets")
}

fn secret(
    version: KeyVersion,
    sign: KeyType,
    encrypt: &[KeyType],
    user_id: Option<&str>,
    packets: PacketHeaderVersion,
) -> SignedSecretKey {
    let subkey = |key_type: &KeyType| {
        SubkeyParamsBuilder::default()
            .version(version)
            .key_type(key_type.clone())
            .can_encrypt(EncryptionCaps::All)
            .packet_version(packets)
            .build()
            .expect("subkey")
    };
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters
        .version(version)
        .key_type(sign)
        .can_certify(true)
        .can_sign(true)
        .feature_seipd_v2(true)
        .packet_version(packets)
        .preferred_symmetric_algorithms([SymmetricKeyAlgorithm::AES256].into_iter().collect())
        .preferred_hash_algorithms([HashAlgorithm::Sha256].into_iter().collect())
        .subkeys(encrypt.iter().map(subkey).collect());
    if let Some(user_id) = user_id {
        parameters.primary_user_id(user_id.to_owned());
    }
    let parameters = parameters.build().expect("parameters");
    parameters.generate(OsRng).expect("key")
}

/// A key as Delta Chat makes it.
fn usual() -> SignedSecretKey {
    secret(
        KeyVersion::V4,
        KeyType::Ed25519Legacy,
        &[KeyType::ECDH(ECCCurve::Curve25519Legacy)],
        Some(&format!("<{SENDER}>")),
        PacketHeaderVersion::New,
    )
}

/// What Delta Chat makes of a key before it sends it: with a direct key signature that names the
/// owner's addresses. Further subpackets can be put into it.
fn with_direct_signature(
    secret: &SignedSecretKey,
    relays: &str,
    more: Vec<Subpacket>,
) -> SignedPublicKey {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let mut features = Features::default();
    features.set_seipd_v1(true);
    features.set_seipd_v2(true);
    let notation = Notation {
        readable: true,
        name: "relays@chatmail.at".into(),
        value: relays.to_owned().into(),
    };
    let mut hashed: Vec<_> = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(1_790_000_000)),
        SubpacketData::IssuerFingerprint(secret.fingerprint()),
        SubpacketData::KeyFlags(flags),
        SubpacketData::Features(features),
        SubpacketData::IsPrimary(true),
        SubpacketData::Notation(notation),
    ]
    .into_iter()
    .map(|data| Subpacket::regular(data).expect("subpacket"))
    .collect();
    hashed.extend(more);
    let primary = &secret.primary_key;
    let mut config =
        SignatureConfig::from_key(OsRng, primary, SignatureType::Key).expect("signature");
    config.hashed_subpackets = hashed;
    let signature = config
        .sign_key(primary, &Password::empty(), primary.public_key())
        .expect("signature");
    let public = secret.to_public_key();
    SignedPublicKey {
        details: SignedKeyDetails {
            direct_signatures: vec![signature],
            ..public.details
        },
        ..public
    }
}

/// A packet with a new header.
fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let size = body.len();
    let size = match size {
        0..192 => vec![size as u8],
        _ => vec![((size - 192) >> 8) as u8 + 192, (size - 192) as u8],
    };
    [&[0xc0 | tag][..], &size, body].concat()
}

#[test]
fn a_key_as_delta_chat_writes_it_stays() {
    assert!(keeps_key(DELTA_CHAT.trim_end().as_bytes()));
    let secret = usual();
    for relays in [
        SENDER.to_owned(),
        format!("{SENDER},alice@other.test,a1b2c3d4e@nine.test"),
        (1..=5)
            .map(|n| format!("alice{n}@relay{n}.test"))
            .collect::<Vec<_>>()
            .join(","),
    ] {
        assert!(keeps(&bytes(&with_direct_signature(
            &secret,
            &relays,
            vec![]
        ))));
    }
    // Before it named relays, and after a move to another address.
    assert!(keeps(&bytes(&secret.to_public_key())));
    let moved = self::secret(
        KeyVersion::V4,
        KeyType::Ed25519Legacy,
        &[KeyType::ECDH(ECCCurve::Curve25519Legacy)],
        Some("<alice@other.test>"),
        PacketHeaderVersion::New,
    );
    assert!(keeps(&bytes(&moved.to_public_key())));
}

#[test]
fn keys_of_every_version_and_algorithm_stay() {
    use KeyVersion::{V4, V6};
    let p = |curve: ECCCurve| (KeyType::ECDSA(curve.clone()), KeyType::ECDH(curve));
    for (version, sign, encrypt) in [
        (
            V4,
            KeyType::Ed25519Legacy,
            KeyType::ECDH(ECCCurve::Curve25519Legacy),
        ),
        (V4, KeyType::Ed25519, KeyType::X25519),
        (V4, KeyType::Rsa(2048), KeyType::Rsa(2048)),
        (V4, p(ECCCurve::P256).0, p(ECCCurve::P256).1),
        (V4, p(ECCCurve::P384).0, p(ECCCurve::P384).1),
        (V4, p(ECCCurve::P521).0, p(ECCCurve::P521).1),
        (V6, KeyType::Ed25519, KeyType::X25519),
        (V6, KeyType::Ed448, KeyType::X448),
    ] {
        for packets in [PacketHeaderVersion::New, PacketHeaderVersion::Old] {
            for user_id in [Some(SENDER), Some("<alice@chat.test>"), None] {
                // Version 4 keys of this crate have one.
                if version == V4 && user_id.is_none() {
                    continue;
                }
                let encrypt = [encrypt.clone(), encrypt.clone()];
                let key = secret(version, sign.clone(), &encrypt, user_id, packets);
                let key = bytes(&key.to_public_key());
                for layout in [
                    Layout::DeltaChat,
                    Layout::TwoSpaces,
                    Layout::OwnLines(64),
                    Layout::OwnLines(72),
                    Layout::OwnLines(76),
                ] {
                    for attributes in [
                        "addr=alice@chat.test;",
                        "addr=Alice@Chat.Test; prefer-encrypt=mutual;",
                        "addr=alice@chat.test;prefer-encrypt=nopreference;",
                    ] {
                        let value = autocrypt(attributes, &key, layout);
                        for value in [value.replace('\n', "\r\n"), value.clone() + ";", value] {
                            let kept = keeps_key(value.as_bytes());
                            assert!(kept, "{version:?} {sign:?} {layout:?}\n{value}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_key_that_expires_and_keys_that_sign_with_a_subkey_stay() {
    let secret = usual();
    let expires = SubpacketData::KeyExpirationTime(pgp::types::Duration::from_secs(86_400 * 365));
    let expires = Subpacket::regular(expires).expect("subpacket");
    assert!(keeps(&bytes(&with_direct_signature(
        &secret,
        SENDER,
        vec![expires]
    ))));
    let signs = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .build()
        .expect("subkey");
    let encrypts = SubkeyParamsBuilder::default()
        .key_type(KeyType::ECDH(ECCCurve::Curve25519Legacy))
        .can_encrypt(EncryptionCaps::All)
        .build()
        .expect("subkey");
    let key = SecretKeyParamsBuilder::default()
        .key_type(KeyType::Rsa(2048))
        .can_certify(true)
        .primary_user_id(SENDER.to_owned())
        .subkey(signs)
        .subkey(encrypts)
        .build()
        .expect("parameters")
        .generate(OsRng)
        .expect("key");
    assert!(keeps(&bytes(&key.to_public_key())));
}

#[test]
fn text_in_an_autocrypt_header_does_not_stay() {
    let key = bytes(&usual().to_public_key());
    let good = mutual(&key);
    assert!(keeps_key(good.as_bytes()));
    let base64 = STANDARD.encode(&key);
    let (head, tail) = base64.split_at(100);
    for value in [
        "".to_owned(),
        "Attack at dawn".to_owned(),
        format!("addr={SENDER}"),
        format!("keydata={base64}"),
        format!("addr={SENDER}; keydata=x Attack at dawn"),
        format!("addr={SENDER}; keydata="),
        format!(
            "addr={SENDER}; keydata={}",
            STANDARD.encode("Attack at dawn")
        ),
        format!("addr={SENDER}; keydata={head} {tail}"),
        format!("addr={SENDER}; keydata={head}\tat\tdawn\t{tail}"),
        format!("addr={SENDER}; keydata={head}\n Attack\n at\n dawn{tail}"),
        format!("addr={SENDER}; keydata={base64}Attack"),
        format!("addr={SENDER}; keydata={base64}\n Attack"),
        format!("addr={SENDER}; keydata={base64}; attack=dawn"),
        format!("addr={SENDER}; keydata={base64}; ;"),
        format!("addr={SENDER}; keydata={base64} (at dawn)"),
        format!("addr={SENDER}; _text=dawn; keydata={base64}"),
        format!("addr={SENDER}; prefer-encrypt=dawn; keydata={base64}"),
        format!("addr={SENDER}; prefer-encrypt=mutual; prefer-encrypt=mutual; keydata={base64}"),
        format!("addr={SENDER}; addr={SENDER}; keydata={base64}"),
        format!("prefer-encrypt=mutual; addr={SENDER}; keydata={base64}"),
        format!("addr=eve@chat.test; keydata={base64}"),
        format!("addr=attack at dawn@chat.test; keydata={base64}"),
        format!("addr={SENDER}; keydata={base64}; keydata={base64}"),
        format!("addr={SENDER};{}keydata={base64}", " ".repeat(30)),
        format!("addr={SENDER}; keydata={}", &base64[..base64.len() - 1]),
        good.replacen("\n ", " ", 3),
    ] {
        assert!(!keeps_key(value.as_bytes()), "{value}");
    }
}

#[test]
fn packets_that_are_no_part_of_a_key_do_not_stay() {
    let secret = usual();
    let public = with_direct_signature(&secret, SENDER, vec![]);
    let key = bytes(&public);
    let text = b"Attack at dawn, bring ladders";
    let user_id = UserId::from_str(PacketHeaderVersion::New, "Attack at dawn").expect("user ID");
    let primary = &secret.primary_key;
    let second = user_id.sign(OsRng, primary, primary.public_key(), &Password::empty());
    let second = second.expect("signature");
    let mut two_ids = public.clone();
    two_ids.details.users.push(second.clone());
    let mut other_id = public.clone();
    other_id.details.users = vec![second];
    let image = UserAttribute::new_image(text.to_vec().into()).expect("attribute");
    let image = image.sign(OsRng, primary, primary.public_key(), &Password::empty());
    let image = image.expect("signature");
    let mut with_image = public.clone();
    with_image.details.user_attributes.push(image);
    let mut no_subkey = public.clone();
    no_subkey.public_subkeys.clear();
    let mut subkeys = public.clone();
    subkeys.public_subkeys = vec![public.public_subkeys[0].clone(); 9];
    let mut signatures = public.clone();
    signatures.details.direct_signatures = vec![public.details.direct_signatures[0].clone(); 3];
    for (what, packets) in [
        ("a literal", [&key[..], &packet(11, text)].concat()),
        ("a marker", [&packet(10, b"PGP")[..], &key].concat()),
        ("padding", [&key[..], &packet(21, text)].concat()),
        ("trust", [&key[..], &packet(12, text)].concat()),
        ("a private packet", [&key[..], &packet(60, text)].concat()),
        ("bytes", [&key[..], text].concat()),
        ("two keys", [&key[..], &key].concat()),
        ("two user IDs", bytes(&two_ids)),
        ("a user ID that is text", bytes(&other_id)),
        ("a user attribute", bytes(&with_image)),
        ("no subkey", bytes(&no_subkey)),
        ("nine subkeys", bytes(&subkeys)),
        ("three signatures of a kind", bytes(&signatures)),
        ("a secret key", secret.to_bytes().expect("packets")),
    ] {
        assert!(!keeps(&packets), "{what}");
    }
    subkeys.public_subkeys.truncate(8);
    assert!(keeps(&bytes(&subkeys)));
}

#[test]
fn signatures_that_say_more_do_not_stay() {
    let secret = usual();
    let notation = |name: &'static str, value: &str| {
        SubpacketData::Notation(Notation {
            readable: true,
            name: name.into(),
            value: value.to_owned().into(),
        })
    };
    for data in [
        notation("text@chat.test", "Attack at dawn"),
        notation("relays@chatmail.at", "a@b.test"),
        SubpacketData::PolicyURI("https://chat.test/attack-at-dawn".into()),
        SubpacketData::PreferredKeyServer("hkps://attack-at-dawn.test".into()),
        SubpacketData::SignersUserID("attack at dawn".into()),
        SubpacketData::RegularExpression(b"attack at dawn".to_vec().into()),
        SubpacketData::RevocationReason(
            pgp::packet::RevocationCode::NoReason,
            b"attack at dawn".to_vec().into(),
        ),
        SubpacketData::Experimental(100, b"attack at dawn".to_vec().into()),
    ] {
        let name = format!("{data:?}");
        let more = vec![Subpacket::regular(data).expect("subpacket")];
        assert!(
            !keeps(&bytes(&with_direct_signature(&secret, SENDER, more))),
            "{name}"
        );
    }
    for relays in [
        "",
        "attack at dawn",
        "a@b.test, c@d.test",
        "a@b.test,attack",
    ] {
        let key = with_direct_signature(&secret, relays, vec![]);
        assert!(!keeps(&bytes(&key)), "{relays}");
    }
    let long = vec!["alice@chat.test"; 70].join(",");
    assert!(!keeps(&bytes(&with_direct_signature(
        &secret,
        &long,
        vec![]
    ))));
    // Nobody signs the unhashed area.
    let mut public = with_direct_signature(&secret, SENDER, vec![]);
    let text = Subpacket::regular(notation("relays@chatmail.at", "a@b.test")).expect("subpacket");
    public.details.direct_signatures[0]
        .unhashed_subpacket_push(text)
        .expect("subpacket");
    assert!(!keeps(&bytes(&public)));
}

proptest! {
    #[test]
    fn a_key_with_bytes_changed_is_no_channel(
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        shorter in any::<bool>(),
    ) {
        let mut packets = STANDARD.decode(keydata(DELTA_CHAT)).expect("base64");
        for (at, byte) in changes {
            let at = at.index(packets.len());
            packets[at] = byte;
        }
        if shorter {
            packets.truncate(cut.index(packets.len()));
        }
        // The oracle objects to what stays and is not a key.
        if keeps(&packets) && let Ok(key) = SignedPublicKey::from_bytes(&packets[..]) {
            prop_assert!(key.details.users.len() <= 1);
            prop_assert!(key.details.user_attributes.is_empty());
            prop_assert!(key.details.users.iter().all(|user| user.id.tag() == Tag::UserId));
            prop_assert_eq!(bytes(&key).len(), packets.len());
        }
    }

    #[test]
    fn text_put_into_an_autocrypt_header_does_not_stay(
        text in proptest::sample::select(&["Attack at dawn.", " attack", "\n at\n dawn\n", "; at=dawn;", "=", " "][..]),
        at in any::<Index>(),
    ) {
        let value = DELTA_CHAT.trim_end();
        let at = at.index(value.len() + 1);
        let with = format!("{}{text}{}", &value[..at], &value[at..]);
        // One more space is allowed between attributes, at a fold and right after `keydata=`.
        let (before, behind) = value.split_at(at);
        let space = |byte: Option<char>| byte.is_none_or(|c| c.is_whitespace() || c == ';');
        let harmless = text == " "
            && (space(before.chars().last())
                || space(behind.chars().next())
                || before.ends_with("keydata="));
        prop_assert!(harmless || !keeps_key(with.as_bytes()), "{with}");
    }
}

/// The base64 of a header.
fn keydata(value: &str) -> String {
    let (_, key) = value.split_once("keydata=").expect("a key");
    key.split_ascii_whitespace().collect()
}

/// `cargo test -p chatmail-core --test autocrypt -- --ignored --nocapture`: another key for the file.
#[test]
#[ignore = "prints a key"]
fn print_a_key_as_delta_chat_writes_it() {
    let key = with_direct_signature(&usual(), "alice@chat.test,alice@other.test", vec![]);
    println!("{}", mutual(&bytes(&key)));
}
